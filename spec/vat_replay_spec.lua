-- Replays: a transcript runs again vat by vat, and the first record that differs is named.
local chance = require "spec.support.chance"
local errors = require "spec.support.errors"
local json = require "lethe.json"
local lethe = require "lethe"
local program = require "spec.support.program"
local random_vat = require "spec.support.random_vat"

local vat = lethe.vat

local NAMES <const> = { "a", "b", "c" }

-- Vats that do at random what they may; each starts anew from its seed when it is built.
local function builds()
  local list = {}
  for i, name in ipairs(NAMES) do
    list[name] = { raw = function(syscall)
      return random_vat.setup(name, chance.generator(i))(syscall)
    end }
  end
  return list
end

-- A kernel in which they have talked for a while.
local function talk(given, cranks)
  local k = vat.kernel(given)
  local roots, random, how = {}, chance.generator(99), builds()
  for i, name in ipairs(NAMES) do roots[i] = k:raw_vat(name, how[name].raw) end
  while k:stats().cranks < cranks do
    k:send(roots[random(3)], "m", roots[random(3)], roots[random(3)]):close()
    k:run(random(8))
    if random(6) == 1 then k:reap(NAMES[random(3)]) end
  end
  return k
end

describe("a transcript", function()
  local path

  before_each(function()
    path = program.file()
  end)

  after_each(program.clean)

  it("names the vats first, then every crank", function()
    local k <close> = talk({}, 20)
    local records = k:transcript()
    assert.are.same({ vats = { { name = "a" }, { name = "b" }, { name = "c" } } }, records[1])
    assert.are.equal(k:stats().cranks + 1, #records)
    for i = 2, #records do
      assert.is_string(records[i].vat)
      assert.is_string(records[i].delivery[1])
      assert.is_table(records[i].syscalls)
      assert.is_nil(records[i].ended)
    end
  end)

  it("is a copy", function()
    local k <close> = talk({}, 20)
    local text = k:transcript()
    text[2].delivery[2] = "o+44"
    text[3] = nil
    assert.are_not.equal("o+44", k:transcript()[2].delivery[2])
    assert.is_table(k:transcript()[3])
  end)

  it("is the same in a file, line by line", function()
    local k <close> = talk({}, 60)
    local filed = talk({ transcript = path }, 60)
    assert.are.same(k:transcript(), filed:transcript())
    filed:close()
    assert.is_true(vat.replay(path, builds()))
    local n = 0
    for line in io.lines(path) do
      n = n + 1
      assert.is_table(json.decode(line))
    end
    assert.are.equal(#k:transcript(), n)
  end)

  it("names in a file a vat that is made later", function()
    local k <close> = vat.kernel{ transcript = path }
    local one = k:raw_vat("one", function() return {} end)
    k:send(one, "hello")
    k:run()
    k:raw_vat("two", function() return {} end)
    k:close()
    local records = require("lethe.vat.transcript").read(path)
    assert.are.same({ { name = "one" }, { name = "two" } }, records[1].vats)
    assert.are.equal(2, #records)
  end)

  it("cannot be written everywhere", function()
    local none, message, code = vat.kernel{ transcript = "/nowhere/at/all" }
    assert.are.same({ nil, "not_writable" }, { none, code })
    assert.matches("/nowhere/at/all", message)
  end)
end)

describe("a replay", function()
  it("comes out the same", function()
    local k <close> = talk({}, 300)
    assert.is_true(vat.replay(k:transcript(), builds()))
  end)

  it("names the record of a changed syscall, for each of them", function()
    local k <close> = talk({}, 60)
    local found = 0
    for index, record in ipairs(k:transcript()) do
      for i in ipairs(record.syscalls or {}) do
        local changed = k:transcript()
        changed[index].syscalls[i] = { "subscribe", "p-1234" }
        local ok, message, code, at, expected, got = vat.replay(changed, builds())
        assert.are.same({ false, "diverged", index }, { ok or false, code, at })
        assert.are.same(changed[index], expected)
        assert.are.same(record, got)
        assert.matches(("record %d, .*syscall %d: expected %%[\"subscribe\",\"p%%-1234\"%%], got "):
          format(index, i), message)
        found = found + 1
      end
    end
    assert.is_true(found > 40)
  end)

  it("names the record whose syscalls somebody made into what is none", function()
    local k <close> = talk({}, 5)
    for _, calls in ipairs{ { print }, { 7 }, { { "send", print } }, { ["send"] = {} } } do
      local changed = k:transcript()
      changed[3].syscalls = calls
      local ok, message, code, index = vat.replay(changed, builds())
      assert.are.same({ nil, "diverged", 3 }, { ok, code, index })
      assert.matches("^record 3, ", message)
    end
  end)

  it("names the record in which a syscall is missing, or one too many", function()
    local k <close> = talk({}, 40)
    for index, record in ipairs(k:transcript()) do
      if record.syscalls and record.syscalls[1] then
        local fewer, more = k:transcript(), k:transcript()
        table.remove(fewer[index].syscalls)
        table.insert(more[index].syscalls, { "dropImports", {} })
        assert.are.equal(index, (select(4, vat.replay(fewer, builds()))))
        assert.are.equal(index, (select(4, vat.replay(more, builds()))))
      end
    end
  end)

  it("names the record in which another vat was built", function()
    local k <close> = talk({}, 40)
    local other = builds()
    other.b = { raw = function() return {} end }
    local ok, _, code, index, expected, got = vat.replay(k:transcript(), other)
    assert.are.same({ nil, "diverged", "b" }, { ok, code, expected.vat })
    assert.are.same({ {}, k:transcript()[index].syscalls }, { got.syscalls, expected.syscalls })
  end)

  -- Runs fn(syscall) as the second message of a vat, and replays that with how(syscall) instead.
  local function second(fn, how)
    local function build(act)
      return function(syscall)
        local n = 0
        return { deliver = function()
          n = n + 1
          if n == 2 then act(syscall) end
        end }
      end
    end
    local k <close> = vat.kernel{}
    local root = k:raw_vat("v", build(fn))
    for _ = 1, 3 do k:send(root, "m") end
    k:run()
    local records = k:transcript()
    return records, vat.replay(records, { v = { raw = build(how or fn) } })
  end

  it("runs into the same ends", function()
    local on_error = lethe.on_error(function() end)
    finally(function() lethe.on_error(on_error) end)
    local illegal = function(syscall) syscall.subscribe("p-9") end
    local records, ok = second(illegal)
    assert.are.same({ 3, "illegal_syscall", true }, { #records, records[3].ended, ok })
    records, ok = second(error)
    assert.are.same({ 3, "terminated", true }, { #records, records[3].ended, ok })
  end)

  it("tells an end from none, and one end from another", function()
    local on_error = lethe.on_error(function() end)
    finally(function() lethe.on_error(on_error) end)
    local illegal = function(syscall) syscall.subscribe("p-9") end
    local _, ok, message, code, index, expected, got = second(illegal, error)
    assert.are.same({ nil, "diverged", 3 }, { ok, code, index })
    assert.are.same({ "illegal_syscall", "terminated" }, { expected.ended, got.ended })
    assert.matches("expected the vat to end as illegal_syscall, got one that ended as terminated",
      message)
    _, ok, message, code, index = second(print and function() end, illegal)
    assert.are.same({ nil, "diverged", 3 }, { ok, code, index })
    assert.matches("expected the vat to go on, got one that ended as illegal_syscall", message)
  end)

  it("takes an end for want of memory as an input, and one from outside", function()
    local ran = 0
    local builds_of_v = { v = { raw = function()
      return { deliver = function() ran = ran + 1 end }
    end } }
    local records = {
      { vats = { { name = "v" } } },
      { vat = "v", delivery = { "deliver", "o+0", "m", { slots = {} } }, syscalls = {} },
      { vat = "v", delivery = { "deliver", "o+0", "m", { slots = {} } }, syscalls = {},
        ended = "memory" },
    }
    assert.is_true(vat.replay(records, builds_of_v))
    assert.are.equal(1, ran)
    records[3] = { vat = "v", delivery = { "terminate" }, syscalls = {}, ended = "terminated" }
    assert.is_true(vat.replay(records, builds_of_v))
    records[4] = records[2]
    local ok, message, code, index, _, got = vat.replay(records, builds_of_v)
    assert.are.same({ nil, "diverged", 4, nil }, { ok, code, index, got })
    assert.are.equal("record 4, deliver to v: the vat has ended before", message)
  end)

  it("says what is wrong with what it is given", function()
    local function of(delivery)
      return { { vats = { { name = "v" } } }, { vat = "v", delivery = delivery, syscalls = {} } }
    end
    local function ended(how)
      local records = of{ "terminate" }
      records[2].ended = how
      return records
    end
    local function bounded(name, bound)
      local records = of{ "terminate" }
      records[1].vats[1][name] = bound
      return records
    end
    local none, message, code = vat.replay("/nowhere/at/all", {})
    assert.are.same({ nil, "not_found" }, { none, code })
    assert.matches("/nowhere", message)
    none, message, code = vat.replay("spec", {})
    assert.are.same({ nil, "spec: Is a directory", "not_found" }, { none, message, code })
    for _, records in ipairs{
      {}, { { vats = { {} } } }, { { vats = {} }, {} }, { { vats = {} }, { vat = "v" } },
      { { vats = {} }, { vat = "v", delivery = { "dance" }, syscalls = {} } },
      { { vats = {} }, { vat = "v", delivery = { "bringOutYourDead" }, syscalls = {} } },
      of{ "deliver", "x+1", "m", { slots = {} } }, of{ "deliver", "o+1", "m", { slots = { "q" } } },
      of{ "deliver", "o+1", "m", { slots = {} }, "o+2" }, of{ "notify", { { "o-1", 1, {} } } },
      of{ "notify", { { nil, false, { slots = {} } } } }, of{ "dropExports", { "o+01" } },
      of{ "retireImports", { "p-1" } },
      of{ "deliver", "o+1", "m", { data = print, slots = {} } }, ended{}, ended(true), ended(7),
      bounded("meter", "9"), bounded("meter", -1), bounded("memory", {}), bounded("memory", 1.5),
    } do
      none, message, code = vat.replay(records, {})
      assert.are.same({ nil, "bad_format" }, { none, code })
      assert.matches("record", message)
    end
    assert.matches("^bad argument #1 to 'replay'",
      errors.at_its_line(function() vat.replay(7, {}) end))
    assert.matches("^bad argument #2 to 'replay'",
      errors.at_its_line(function() vat.replay({}, 7) end))
    local k <close> = talk({}, 5)
    assert.matches('^no build for the vat "%a"',
      errors.at_its_line(function() vat.replay(k:transcript(), {}) end))
  end)
end)

describe("lethe replay", function()
  local transcript, builds_file

  before_each(function()
    transcript = program.file()
    builds_file = program.file([[return { v = { raw = function(syscall)
      return { deliver = function(_, _, args, result)
        syscall.resolve{ { result, false, args } }
      end }
    end } }]])
    local k <close> = vat.kernel{ transcript = transcript }
    local root = k:raw_vat("v", dofile(builds_file).v.raw)
    for i = 1, 3 do k:send(root, "echo", i) end
    k:run()
  end)

  after_each(program.clean)

  local function run(...)
    return program.run(("lethe replay %s"):format(table.concat({ ... }, " ")))
  end

  it("says so when every record came again", function()
    local out, err, code = run(transcript, builds_file)
    assert.are.same({ "every record came again\n", "", 0 }, { out, err, code })
  end)

  it("shows the first that did not", function()
    local file <close> = assert(io.open(transcript))
    local changed = program.file((file:read("a"):gsub('"=2"', '"=5"', 1)))
    local out, err, code = run(changed, builds_file)
    assert.are.equal(1, code)
    assert.matches("^record 3\n  expected {.*\n  got      {", out)
    assert.matches("^lethe replay: record 3, deliver to v: syscall 1: expected ", err)
  end)

  it("complains about wrong usage, and about files that are none", function()
    local _, err, code = run(transcript)
    assert.are.equal(2, code)
    assert.matches("replay takes a transcript and a build file", err)
    _, err, code = run("/nowhere/at/all", builds_file)
    assert.are.equal(1, code)
    assert.matches("/nowhere/at/all", err)
    _, err, code = run(transcript, "/nowhere/at/all")
    assert.are.equal(1, code)
    assert.matches("/nowhere/at/all", err)
    _, err, code = run(transcript, transcript)
    assert.are.equal(1, code)
    assert.matches("^lethe replay: ", err)
  end)
end)
