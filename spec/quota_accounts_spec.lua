-- Accounts of a quota tracker: names, handles, parents, limits, their end.
local errors = require "spec.support.errors"
local participants = require "spec.support.participants"
local lethe = require "lethe"
local quota = require "lethe.quota"
local scenario = require("lethe.spec").scenario

local at_its_line = errors.at_its_line
local KIB <const>, MIB <const> = 1 << 10, 1 << 20

-- "code", or whatever else came.
local function refused(ok, message, code)
  if ok ~= nil then return ok end
  assert.are.equal("string", type(message))
  return code
end

describe("an account", function()
  it("is the one value that its call returns, as what else is made of a tracker", function()
    local t = quota.new{ max = "1M" }
    local list = {}
    table.insert(list, t:account{ name = "a" })
    table.insert(list, list[1]:child{ name = "b" })
    table.insert(list, list[1]:participant({ get_oldest = print, reclaim = print }))
    table.insert(list, list[3]:claim_wait(1, 1))
    table.insert(list, t:configure{ max = "2M" })
    assert.are.equal(5, #list)
    assert.are.equal(2, select("#", quota.queue{ account = list[2], capacity = 1 }))
    t:close()
  end)

  it("is legal without a name, without participants, and beside one of its name", scenario(
    function(s)
      local t = s:quota{ max = "8M" }
      local a, b, c = t:account(), t:account{ name = "same" }, t:account{ name = "same" }
      assert.are.same({ "nil", "same", "same" }, { type(a:name()), b:name(), c:name() })
      assert.are.same({ 0, 3 }, { a:used(), t:stats().accounts })
      assert.is_true(b ~= c)
      assert.is_true(t:check())
    end))

  it("has one id for life, which no other gets", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local seen = {}
    for _ = 1, 100 do
      local a = t:account()
      assert.is_nil(seen[a:id()])
      seen[a:id()] = true
      a:close()
    end
    assert.are.equal(0, t:stats().accounts)
  end))

  it("knows its tracker, the very object", scenario(function(s)
    local t = s:quota{ max = "8M" }
    assert.are.equal(t, t:account():tracker())
    assert.are.equal(t, t:account():child():tracker())
  end))

  it("counts its own bytes, not those of accounts below", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local parent = participants.holder(t, { bytes = 20000 })
    local child = participants.holder(t, { bytes = 30000, parent = parent.account })
    assert.are.equal(20000 + 16384, parent.account:used())
    assert.are.equal(parent.account:used() + child.account:used(), t:used())
  end))

  it("ends with its last clone, and its participants' bytes with it", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, { bytes = "1M" })
    local clone = h.account:clone()
    assert.are.equal(h.account, clone)
    assert.is_true(h.account:close())
    assert.is_true(h.participation:claim(1))
    assert.is_true(t:used() > MIB)
    assert.is_true(clone:close())
    assert.are.same({ 0, 0 }, { t:used(), t:stats().accounts })
    assert.are.equal("account_closed", refused(h.participation:claim(1)))
    assert.are.equal("account_closed", refused(h.participation:claim(0)))
    assert.is_true(t:check())
  end))

  it("is closed at the end of its scope", scenario(function(s)
    local t = s:quota{ max = "8M" }
    do
      local a <close> = t:account()
      assert.are.equal(1, t:stats().accounts)
      a:participant(participants.object()):claim(5)
    end
    assert.are.same({ 0, 0 }, { t:stats().accounts, t:used() })
  end))

  it("may be closed twice, and not be used after", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a, b = t:account{ name = "a" }, t:account()
    assert.is_true(a:close())
    assert.is_true(a:close())
    assert.are.equal("lethe.quota.Account (closed)", tostring(a))
    local message <const> = "attempt to use a closed lethe.quota.Account"
    assert.are.equal(message, at_its_line(function() a:name() end))
    assert.are.equal(message, at_its_line(function() a:used() end))
    assert.are.equal(message, at_its_line(function() a:clone() end))
    assert.are.equal(message, at_its_line(function() a:weak() end))
    assert.are.equal(message, at_its_line(function() a:tracker() end))
    assert.are.equal(message, at_its_line(function() a:child() end))
    assert.are.equal(message, at_its_line(function() a:participant(participants.object()) end))
    assert.are.equal(message, at_its_line(function() a:participant_with(print) end))
    assert.are.equal(message, at_its_line(function() a:add_parent(b) end))
    assert.matches("closed lethe.quota.Account", at_its_line(function() b:add_parent(a) end))
    assert.matches("parent is a closed lethe.quota.Account",
      at_its_line(function() t:account{ parent = a } end))
  end))

  it("keeps its name when a pass ends it, and answers with failures", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, { name = "sessions", age = 1, bytes = "1M" })
    local weak = h.account:weak()
    t:reclaim("1M")
    assert.are.same({ "sessions", 0 }, { h.account:name(), h.account:used() })
    assert.are.equal("account_closed", refused(h.account:participant(participants.object())))
    assert.are.equal("account_closed", refused(h.account:child()))
    assert.are.equal("account_closed", refused(h.account:participant_with(function() end)))
    assert.are.equal("account_closed", refused(h.account:add_parent(t:account())))
    assert.are.equal("account_closed", refused(t:account():add_parent(h.account)))
    assert.are.equal("account_closed", refused(t:account{ parent = h.account }))
    assert.are.equal("account_closed", refused(weak:upgrade()))
    local clone = h.account:clone()
    assert.are.equal("account_closed", refused(clone:participant(participants.object())))
    assert.is_true(clone:close() and h.account:close())
    assert.are.equal(t, weak:tracker())
  end))

  it("refuses options that make no sense", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account()
    local cases = {
      { function() t:account{ naem = "x" } end, 'unknown option "naem" (did you mean "name"?)' },
      { function() t:account{ name = 5 } end, "name must be a string (got number)" },
      { function() t:account{ max = -1 } end, "max must not be negative (got -1)" },
      { function() t:account{ max = "some" } end, 'max is no size: "some"' },
      { function() t:account{ reserve = -1 } end, "reserve must not be negative (got -1)" },
      { function() t:account{ priority = 1.5 } end, "priority must be an integer" },
      { function() t:account{ priority = 1 << 40 } end, "priority must be an integer" },
      { function() t:account{ parent = t } end, "parent must be a lethe.quota.Account (got le" },
      { function() t:account(7) end, "a table of options expected, got number" },
      { function() a:child{ parent = a } end, 'unknown option "parent"' },
      { function() a:add_parent() end, "bad argument #1 to 'add_parent'" },
      { function() a:add_parent(t) end, "bad argument #1 to 'add_parent'" },
      { function() t.account(a, {}) end, "calling 'account' on bad self" },
    }
    for _, case in ipairs(cases) do
      assert.are.equal(case[2], at_its_line(case[1]):sub(1, #case[2]))
    end
    assert.are.equal(1, t:stats().accounts)
  end))
end)

describe("a weak account", function()
  it("upgrades while the account lives", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account{ name = "a" }
    local weak = a:weak()
    assert.are.equal("quota.WeakAccount", lethe.type(weak))
    local again = weak:upgrade()
    assert.are.equal("quota.Account", lethe.type(again))
    assert.are.same({ a, "a" }, { again, again:name() })
    a:close()
    assert.are.equal(1, t:stats().accounts)
    again:close()
    assert.are.equal("account_closed", refused(weak:upgrade()))
  end))

  it("is what a participation gives, alive or dead", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, {})
    local again = h.participation:account():upgrade()
    assert.are.equal(h.account, again)
    again:close()
    h.account:close()
    assert.are.equal("account_closed", refused(h.participation:account():upgrade()))
    t:close()
    assert.are.equal("tracker_shutdown", refused(h.participation:account():upgrade()))
  end))

  it("keeps neither account nor tracker", scenario(function(s)
    local a = quota.new{ max = "8M", loop = s.loop }:account()
    local weak = a:weak()
    s:collect()
    assert.is_truthy(weak:upgrade():close())
    a:close()
    assert.are.equal("tracker_shutdown", refused(weak:upgrade()))
  end))
end)

describe("parents", function()
  it("are refused where they would close a circle", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account()
    local b = a:child()
    local c = b:child()
    assert.are.equal("cycle", refused(a:add_parent(a)))
    assert.are.equal("cycle", refused(a:add_parent(b)))
    assert.are.equal("cycle", refused(a:add_parent(c)))
    assert.is_true(c:add_parent(a))
    assert.is_true(t:check())
  end))

  it("are refused twice, and when they are of another tracker", scenario(function(s)
    local t, other = s:quota{ max = "8M" }, s:quota{ max = "8M" }
    local a, b = t:account(), t:account()
    assert.is_true(a:add_parent(b))
    assert.are.equal("duplicate_child", refused(a:add_parent(b)))
    assert.are.equal("duplicate_child", refused(b:child():add_parent(b)))
    assert.are.equal("other_tracker", refused(a:add_parent(other:account())))
    assert.are.equal("other_tracker", refused(t:account{ parent = other:account() }))
  end))

  it("count what is below them once, however many ways lead there", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local top = t:account{ max = "100K" }
    local left, right = top:child(), top:child()
    local h = participants.holder(t, { parent = left })
    assert.is_true(h.account:add_parent(right))
    assert.is_true(h.participation:claim(100 * KIB))
    assert.are.equal("over_limit", refused(h.participation:claim(1)))
    h.participation:release(100 * KIB)
    assert.is_true(t:check())
  end))

  it("need room for what joins them", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local parent = t:account{ max = "100K" }
    local h = participants.holder(t, { bytes = 100 * KIB + 1 })
    assert.are.equal("over_limit", refused(h.account:add_parent(parent)))
    h.participation:release(1)
    assert.is_true(h.account:add_parent(parent))
    assert.is_true(t:check())
  end))

  it("do not keep their children alive, nor these them", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local parent = t:account()
    local child = parent:child()
    parent:close()
    assert.is_true(child:participant(participants.object()):claim(5))
    assert.are.equal(1, t:stats().accounts)
    local grandchild = child:child()
    child:close()
    assert.are.equal(1, t:stats().accounts)
    assert.is_true(grandchild:close())
  end))
end)

describe("an account's max", function()
  it("is exact to the byte, with other handles' caches called back", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account{ name = "small", max = 100000 }
    local handles = {}
    for i = 1, 5 do
      handles[i] = a:participant(participants.object())
    end
    assert.is_true(handles[1]:claim(99995))
    for i = 2, 5 do
      assert.is_true(handles[i]:claim(1))
    end
    assert.is_true(handles[1]:claim(1))
    local ok, message, code = handles[1]:claim(1)
    assert.are.same({ "nil", "over_limit" }, { type(ok), code })
    assert.matches("1 bytes .* small", message)
    assert.are.equal(100000, a:used())
    assert.is_true(t:check())
  end))

  it("covers all accounts below it", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local top = t:account{ max = 100000 }
    local child = top:child()
    local grandchild = child:child()
    local h = participants.holder(t, { parent = grandchild })
    local own = top:participant(participants.object())
    assert.is_true(h.participation:claim(60000))
    assert.are.equal("over_limit", refused(own:claim(40001)))
    assert.is_true(own:claim(40000))
    h.account:close()
    assert.is_true(own:claim(60000))
  end))

  it("does not keep participants from registering", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, { max = 5000, bytes = 5000 })
    local late = assert(h.account:participant(participants.object()))
    assert.are.equal(5000, h.account:used())
    assert.are.equal("over_limit", refused(late:claim(1)))
    assert.is_true(late:claim(0))
  end))

  it("may be nothing", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local p = t:account{ max = 0 }:participant(participants.object())
    assert.are.equal("over_limit", refused(p:claim(1)))
    assert.is_true(p:claim(0))
  end))

  it("starts a pass over its tree when it refuses, so that a later claim finds room", scenario(
    function(s)
      local t = s:quota{ max = "8M" }
      local outside = participants.holder(t, { age = 0, bytes = "1M" })
      local parent = t:account{ max = 100000 }
      local old = participants.holder(t, { age = 1, bytes = 50000, parent = parent })
      local young = participants.holder(t, { age = 2, bytes = 50000, parent = parent })
      assert.are.equal("over_limit", refused(young.participation:claim(1000)))
      s:advance(0)
      assert.are.same({ 0, 1, 0 },
        { #outside.object.requests, #old.object.requests, #young.object.requests })
      assert.are.equal("account", old.object.requests[1].reason)
      assert.is_true(young.participation:claim(1000))
      local start, stop = s:events("reclaim_start")[1], s:events("reclaim_stop")[1]
      assert.are.same({ "account", parent:id() }, { start.reason, start.account })
      assert.are.same({ "account", "complete" }, { stop.reason, stop.outcome })
    end))

  it("starts none for what could never fit", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, { age = 1, max = 1000, bytes = 1000 })
    assert.are.equal("over_limit", refused(h.participation:claim(1001)))
    s:advance(0)
    assert.are.same({}, h.object.requests)
    assert.are.equal(0, t:stats().reclaims)
  end))
end)
