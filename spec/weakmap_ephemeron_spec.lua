-- Ephemerons: values that refer to their keys, chains from value to key, keys of every kind.
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local loop = require "lethe.loop"
local weakmap = require "lethe.weakmap"

-- Makers of keys: lethe's, with which values are kept, and others, for which there is a table.
local KINDS <const> = {
  object = function() return weakmap.new() end,
  table = function() return {} end,
  ["function"] = function()
    local x = {}
    return function() return x end
  end,
  thread = function() return coroutine.create(function() end) end,
  userdata = function() return assert(io.tmpfile()) end,
}

local function suite(make)
  local e

  before_each(function()
    e = weakmap.ephemeron()
  end)

  it("leads from keys to values of any type", function()
    local k = make()
    assert.is_nil(e:get(k))
    for _, v in ipairs{ 1, "s", true, false, {}, print, k, e } do
      e:set(k, v)
      assert.are.equal(v, e:get(k))
      assert.are.same({ 1, 1 }, { #e, e:len() })
    end
    assert.are.equal(e, e:remove(k))
    assert.is_nil(e:remove(k))
    assert.is_nil(e:get(k))
    assert.are.equal(0, #e)
    e:set(k, 1)
    e:set(k, nil)
    assert.are.same({ 0, nil }, { #e, e:get(k) })
  end)

  it("does not keep a key for its value's sake", function()
    local gone = setmetatable({}, { __mode = "v" })
    do
      local k = make()
      local v = { k }
      e:set(k, v)
      gone[1], gone[2] = k, v
      assert.are.equal(1, #e)
    end
    collectgarbage()
    assert.are.equal(0, #e)
    collectgarbage() -- what had a finalizer goes in the second
    assert.are.same({}, gone)
  end)

  it("keeps a value as long as its key", function()
    local k = make()
    e:set(k, { "kept" })
    for _ = 1, 3 do collectgarbage() end
    assert.are.equal("kept", e:get(k)[1])
  end)

  it("lets a chain from value to key go link by link, and all at once", function()
    local keys = {}
    for i = 1, 50 do keys[i] = make() end
    for i = 1, 49 do e:set(keys[i], { keys[i + 1] }) end
    e:set(keys[50], "end")
    local first = keys[1]
    keys = nil -- luacheck: ignore
    for _ = 1, 3 do collectgarbage() end
    assert.are.equal(50, #e)
    for _ = 1, 20 do first = e:get(first)[1] end
    for _ = 1, 30 do collectgarbage() end
    assert.are.equal(30, #e)
    first = nil -- luacheck: ignore
    collectgarbage()
    assert.are.equal(0, #e)
  end)

  it("lets a circle go", function()
    do
      local keys = {}
      for i = 1, 10 do keys[i] = make() end
      for i = 1, 10 do e:set(keys[i], keys[i % 10 + 1]) end
      assert.are.equal(10, #e)
    end
    collectgarbage()
    assert.are.equal(0, #e)
  end)

  it("is apart from other ephemerons, and lets go of what it kept when it goes", function()
    local k, other = make(), weakmap.ephemeron()
    local gone = setmetatable({}, { __mode = "v" })
    e:set(k, { "mine" })
    do
      local v = { "other's" }
      other:set(k, v)
      gone[1] = v
      gone[2] = { other }
      other:set(e, gone[2])
    end
    assert.are.same({ "mine", "other's" }, { e:get(k)[1], other:get(k)[1] })
    other = nil -- luacheck: ignore
    for _ = 1, 3 do collectgarbage() end
    assert.are.same({}, gone)
    assert.are.equal("mine", e:get(k)[1])
  end)

  it("lets go at once when it is closed", function()
    local keys, gone = { make(), make() }, setmetatable({}, { __mode = "v" })
    for i, k in ipairs(keys) do
      gone[i] = { i }
      e:set(k, gone[i])
    end
    e:close()
    e:close()
    collectgarbage()
    assert.are.same({}, gone)
    for _, call in ipairs{ "get", "set", "remove", "len" } do
      assert.has_error(function() e[call](e, keys[1], 1) end)
    end
  end)

  it("forgets a key that its finalizer brings back", function()
    local back
    do
      local k = setmetatable({}, { __gc = function(k) back = k end })
      e:set(k, make())
    end
    collectgarbage()
    assert.are.same({ nil, 0 }, { e:get(back), #e })
    e:set(back, "again")
    assert.are.same({ "again", 1 }, { e:get(back), #e })
    collectgarbage()
    assert.are.equal("again", e:get(back))
    back = nil -- luacheck: ignore
    collectgarbage()
    assert.are.equal(0, #e)
  end)
end

for _, mode in ipairs(collector.modes) do
  describe("ephemerons under " .. mode.name, function()
    before_each(mode.enter)
    after_each(mode.leave)
    for kind, make in pairs(mode.name == "as it is" and KINDS or { object = KINDS.object,
      table = KINDS.table }) do
      describe("with keys that are " .. kind .. "s", function() suite(make) end)
    end
  end)
end

describe("an ephemeron", function()
  it("refuses keys that never die, naming the argument", function()
    local e = weakmap.ephemeron()
    for _, k in ipairs{ 1, "s", true } do
      local message = errors.at_its_line(function() e:set(k, 1) end)
      assert.matches("bad argument #1 to 'set' %(table, userdata, function or thread", message)
      assert.is_nil(e:get(k))
      assert.is_nil(e:remove(k))
    end
    assert.has_error(function() e:set(nil, 1) end)
    assert.has_error(function() e:set({}) end)
    assert.has_error(function() e:get() end)
  end)

  it("forgets an object that is closed", function()
    local e, object = weakmap.ephemeron(), loop.new{ clock = "virtual" }
    local gone = setmetatable({}, { __mode = "v" })
    gone[1] = {}
    e:set(object, gone[1])
    object:close()
    assert.are.same({ 0, nil }, { #e, e:get(object) })
    collectgarbage()
    assert.is_nil(gone[1])
    assert.has_error(function() e:set(object, 1) end)
  end)

  it("is a weak map's value and key, itself", function()
    local e, map = weakmap.ephemeron(), weakmap.new()
    map:insert(1, e)
    e:set(map, e)
    e:set(e, map)
    assert.are.equal(2, #e)
    e, map = nil, nil -- luacheck: ignore
    collector.all()
  end)
end)
