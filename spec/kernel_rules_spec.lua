-- The kernel's side of the import rules, R70 to R72, with raw vats that do as they are told.
local raw_vats = require "spec.support.raw_vats"
local vat = require "lethe.vat"

-- Lets go of what the host holds.
local function release(...)
  for _, handle in ipairs{ ... } do handle:close() end
end

local k, a, b

local function open(options)
  k = vat.kernel(options or {})
  a, b = raw_vats.add(k, "a"), raw_vats.add(k, "b")
end

local function close()
  assert.is_true(k:check())
  k:close()
end

describe("R70: an import", function()
  before_each(open)
  after_each(close)

  it("is reachable from its delivery on", function()
    local name = b:gets(a:object("o+1"))
    assert.are.equal("o-1", name)
    assert.are.equal("R", b:flag(name))
  end)

  it("has one name, however often it comes", function()
    local object = a:object("o+1")
    local one, two = b:gets(object, object)
    assert.is_nil(two) -- slots are listed once
    assert.are.same({ one, one }, { b:gets(object), (b:gets{ object }) })
  end)

  it("stays recognizable when it is dropped, and is reachable again when it comes again", function()
    local object = a:object("o+1")
    local name = b:gets(object)
    b:reap(function(syscall) syscall.dropImports{ name } end)
    assert.are.equal("S", b:flag(name))
    assert.are.equal(name, b:gets(object))
    assert.are.equal("R", b:flag(name))
  end)

  it("is gone when it is retired, and its name is not used again", function()
    local object = a:object("o+1")
    local name = b:gets(object)
    b:reap(function(syscall)
      syscall.dropImports{ name }
      syscall.retireImports{ name }
    end)
    assert.is_nil(b:flag(name))
    assert.are.equal("o-2", b:gets(object))
  end)

  it("must be reachable to be dropped", function()
    local name = b:gets(a:object("o+1"))
    b:reap(function(syscall) syscall.dropImports{ name } end)
    b:reap(function(syscall) syscall.dropImports{ name } end)
    assert.are.equal("illegal_syscall", b:ended())
  end)

  it("must have been dropped to be retired", function()
    local name = b:gets(a:object("o+1"))
    b:reap(function(syscall) syscall.retireImports{ name } end)
    assert.are.equal("illegal_syscall", b:ended())
  end)

  it("cannot be named once it is dropped (R28)", function()
    local name = b:gets(a:object("o+1"))
    b:reap(function(syscall) syscall.dropImports{ name } end)
    b:act(function(syscall) syscall.send(name, "hello") end)
    local code, message = b:ended()
    assert.are.equal("illegal_syscall", code)
    assert.are.equal("send: the vat has dropped o-1", message)
  end)
end)

describe("R70: an export", function()
  before_each(open)
  after_each(close)

  -- b has got o+1 of a, and nobody else holds it.
  local function give()
    local promise = a:act(function(syscall, _, result)
      syscall.resolve{ { result, false, { slots = { "o+1" } } } }
    end)
    local object = k:await(promise)
    local sent
    b.script = function(_, slots) sent = slots[1] end
    local other = k:send(b.root, "act", object)
    k:run()
    release(promise, object, other)
    a:news()
    b:news()
    return sent
  end

  it("is reachable once it has left", function()
    assert.is_nil(a:flag("o+1"))
    give()
    assert.are.equal("R", a:flag("o+1"))
  end)

  it("is dropped when nobody reaches it, and keeps its name while somebody knows it", function()
    local name = give()
    b:reap(function(syscall) syscall.dropImports{ name } end)
    assert.are.equal("drop_exports o+1", a:news())
    assert.are.equal("S", a:flag("o+1"))
  end)

  it("is retired when nobody knows it", function()
    local name = give()
    b:reap(function(syscall)
      syscall.dropImports{ name }
      syscall.retireImports{ name }
    end)
    assert.are.equal("drop_exports o+1; retire_exports o+1", a:news())
    assert.is_nil(a:flag("o+1"))
  end)

  it("is reachable again, under the same name, when it leaves again (R31)", function()
    local name = give()
    b:reap(function(syscall) syscall.dropImports{ name } end)
    local object = a:object("o+1")
    assert.are.equal("R", a:flag("o+1"))
    assert.are.equal(name, b:gets(object))
  end)

  it("may be retired by its vat once it was dropped; those who know it are told", function()
    local name = give()
    b:reap(function(syscall) syscall.dropImports{ name } end)
    a:reap(function(syscall) syscall.retireExports{ "o+1" } end)
    assert.is_nil(a:flag("o+1"))
    assert.are.equal("bring_out_your_dead; retire_imports o-1", b:news())
    assert.is_nil(b:flag(name))
  end)

  it("cannot be retired by its vat while it is reachable", function()
    give()
    a:reap(function(syscall) syscall.retireExports{ "o+1" } end)
    local code, message = a:ended()
    assert.are.equal("illegal_syscall", code)
    assert.are.equal("retireExports: o+1 is still reachable from elsewhere", message)
  end)

  it("that was retired may leave again under its name, as another object (R33)", function()
    local name = give()
    b:reap(function(syscall)
      syscall.dropImports{ name }
      syscall.retireImports{ name }
    end)
    assert.is_nil(b:flag(name))
    assert.are.equal("o-2", b:gets(a:object("o+1")))
  end)
end)

describe("R71: what counts as holding an object", function()
  before_each(open)
  after_each(close)

  -- Makes a say `fn(syscall)` in a crank; runs that crank alone.
  local function say(fn)
    a.script = fn
    k:send(a.root, "act"):close()
    k:step()
    a:news()
  end

  it("is a message in the queue", function()
    b.script = function() end
    local name = a:gets(b.root)
    say(function(syscall) syscall.send(name, "act", { slots = { "o+1" } }) end)
    assert.is_true(k:check())
    assert.are.equal(1, k:stats().queue)
    assert.are.equal(0, k:stats().gc_actions)
    k:run()
    assert.are.equal("R", a:flag("o+1"))
  end)

  it("is a message in a promise's queue", function()
    local name = a:gets(b.root)
    local result
    b.script = function(_, _, r) result = r end
    say(function(syscall)
      syscall.send(name, "act", {}, "p+5")
      syscall.send("p+5", "later", { slots = { "o+1" } })
    end)
    k:run()
    assert.are.equal("R", a:flag("o+1"))
    assert.is_true(k:check())
    b:act(function(syscall) syscall.resolve{ { result, true, {} } } end)
    k:run()
    assert.are.equal("drop_exports o+1; retire_exports o+1", a:news())
    assert.is_true(k:check())
  end)

  it("is a resolution, as long as its promise is held", function()
    local promise = a:act(function(syscall, _, result)
      syscall.resolve{ { result, false, { slots = { "o+1" } } } }
    end)
    k:run()
    assert.are.equal("R", a:flag("o+1"))
    release(promise)
    k:run()
    assert.is_nil(a:flag("o+1"))
    assert.is_true(k:check())
  end)

  it("is the host", function()
    local object = a:object("o+1")
    k:reap()
    k:run()
    assert.are.equal("R", a:flag("o+1"))
    release(object)
    k:reap()
    k:run()
    assert.is_nil(a:flag("o+1"))
  end)

  it("is not its own vat", function()
    release(a:act(function(syscall, _, result)
      syscall.resolve{ { result, false, {} } }
      syscall.send("o+0", "hello", { slots = { "o+1" } })
    end))
    k:run()
    assert.are.equal("deliver o+0 act() p-1; deliver o+0 hello(o+1); drop_exports o+1; "
      .. "retire_exports o+1", a:news())
  end)
end)

describe("R72: what follows when a count is zero", function()
  local c

  before_each(function()
    open{ reap_at = 1e9 }
    c = raw_vats.add(k, "c")
  end)

  after_each(close)

  -- `to` gets `n` objects of `from`, which nobody else holds; what it calls them.
  local function give(from, to, n)
    local promises, objects, names = {}, {}, nil
    for i = 1, n do
      promises[i] = from:act(function(syscall, _, result)
        syscall.resolve{ { result, false, { slots = { "o+" .. i } } } }
      end)
      objects[i] = k:await(promises[i])
    end
    to.script = function(_, slots) names = slots end
    promises[n + 1] = k:send(to.root, "act", table.unpack(objects))
    k:run()
    release(table.unpack(promises))
    release(table.unpack(objects))
    from:news()
    to:news()
    return names
  end

  it("waits as an action, which comes before all else", function()
    local names = give(a, c, 1)
    local promise = k:send(b.root, "hello")
    c.dead = function(syscall) syscall.dropImports(names) end
    k:reap("c")
    assert.are.equal(1, k:stats().gc_actions)
    assert.are.equal("dropExports", k:step().delivery[1])
    assert.are.equal("deliver", k:step().delivery[1])
    assert.is_nil(k:step())
    release(promise)
  end)

  it("comes by vat, then dropExports before retireExports, names sorted", function()
    local of_b, of_a = give(b, c, 2), give(a, c, 12)
    c.dead = function(syscall)
      syscall.dropImports(of_b)
      syscall.dropImports(of_a)
      syscall.retireImports(of_b)
      syscall.retireImports(of_a)
    end
    k:reap("c")
    local seen = {}
    for i = 1, 4 do
      local record = k:step()
      seen[i] = record.vat .. " " .. record.delivery[1]
    end
    assert.is_nil(k:step())
    assert.are.same({ "a dropExports", "a retireExports", "b dropExports", "b retireExports" },
      seen)
    local krefs = {}
    for _, record in ipairs(k:transcript()) do
      if record.vat == "a" and record.delivery[1] == "dropExports" then
        krefs = record.delivery[2]
      end
    end
    -- ko6 to ko17: by bytes ko10 comes before ko6
    assert.are.equal("o+5 o+6 o+7 o+8 o+9 o+10 o+11 o+12 o+1 o+2 o+3 o+4",
      table.concat(krefs, " "))
  end)

  it("is void when the object was exported anew", function()
    local to = a:gets(b.root)
    local names = give(a, c, 1)
    -- Told that nobody reaches it, the vat sends it once more: the retirement is off.
    a.drop_exports = function(syscall) syscall.send(to, "keep", { slots = { "o+1" } }) end
    c:reap(function(syscall)
      syscall.dropImports(names)
      syscall.retireImports(names)
    end)
    assert.are.equal("drop_exports o+1", a:news())
    assert.are.equal("R", a:flag("o+1"))
    assert.are.equal("deliver o+0 keep(o-1)", b:news())
  end)

  it("is not done twice", function()
    local names = give(a, c, 1)
    c:reap(function(syscall) syscall.dropImports(names) end)
    assert.are.equal("drop_exports o+1", a:news())
    c:reap(function(syscall) syscall.retireImports(names) end)
    assert.are.equal("retire_exports o+1", a:news())
    k:reap()
    k:run()
    assert.are.equal("bring_out_your_dead", a:news())
  end)

  it("comes before a bringOutYourDead that is due, and that before the queue", function()
    k:close()
    k = vat.kernel{ reap = "deliveries", reap_at = 5 }
    a, c = raw_vats.add(k, "a"), raw_vats.add(k, "c")
    b = raw_vats.add(k, "b")
    local names = give(a, c, 1)
    local kinds = {}
    c.dead = function(syscall) syscall.dropImports(names) end
    for _ = 1, 6 do k:send(c.root, "hello"):close() end
    local record = k:step()
    while record do
      table.insert(kinds, record.vat .. " " .. record.delivery[1])
      record = k:step()
    end
    assert.are.equal("c deliver, c deliver, c deliver, c deliver, c bringOutYourDead, "
      .. "a dropExports, c deliver, c deliver", table.concat(kinds, ", "))
  end)
end)
