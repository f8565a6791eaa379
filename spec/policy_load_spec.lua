-- lethe.policy.load: a policy's text, read once, in the place of a path.
local lethe = require "lethe"
local policy = require "lethe.policy"
local quota = require "lethe.quota"

local PATH <const> = "spec/data/policies/largest.lua"

describe("policy.load", function()
  it("gives an object that is named after the file", function()
    local text <close> = assert(policy.load(PATH))
    assert.are.equal("policy.Text", lethe.type(text))
    assert.are.equal("largest.lua", text:name())
    assert.are.equal(policy, lethe.policy)
  end)

  it("gives what a tracker takes as its policy, at once and later", function()
    local text = assert(policy.load(PATH))
    local tracker <close> = assert(quota.new{ max = "1M", policy = text })
    assert.is_true(tracker:configure{ policy = text })
    text:close()
    assert.is_true(tracker:configure{ max = "2M" })
  end)

  it("refuses a file that it cannot read, by its name", function()
    local text, message, code = policy.load("no/such.lua")
    assert.is_nil(text)
    assert.are.equal('cannot read policy file "no/such.lua"', message)
    assert.are.equal("bad_policy", code)
  end)

  it("refuses a file whose text does not return a function or a table", function()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    local name = path:match("[^/]+$"):gsub("%p", "%%%0")
    local no_policy = ": a policy's file must return a function or a table "
    for text, expected in pairs{
      ["this is no Lua"] = "^" .. name .. ":1: syntax error near 'is'$",
      ["error('broken')"] = "^" .. name .. ":1: broken$",
      ["return 3"] = "^" .. name .. no_policy .. "%(got number%)$",
      ["local score = 1"] = "^" .. name .. no_policy .. "%(got nil%)$",
      ["while true do end"] = "^policy passed its budget of 10000000 instructions$",
    } do
      local file = assert(io.open(path, "w"))
      file:write(text)
      file:close()
      local loaded, message, code = policy.load(path)
      assert.is_nil(loaded)
      assert.matches(expected, message)
      assert.are.equal("bad_policy", code)
    end
  end)

  it("leaves to its user whether it is a policy for a cache or for a tracker", function()
    local text <close> = assert(policy.load("lua/lethe/policy/sieve.lua"))
    local tracker, message, code = quota.new{ max = "1M", policy = text }
    assert.is_nil(tracker)
    assert.matches("^sieve.lua: ", message)
    assert.are.equal("bad_policy", code)
  end)

  it("raises for what is no path, and is not used once closed", function()
    assert.error_matches(function() policy.load(5) end,
      "^bad argument #1 to 'load' %(string expected, got number%)$")
    local text = assert(policy.load(PATH))
    assert.is_true(text:close())
    assert.is_true(text:close())
    assert.error_matches(function() text:name() end, "attempt to use a closed lethe.policy.Text")
    assert.error_matches(function() quota.new{ max = "1M", policy = text } end,
      "policy is a closed lethe.policy.Text")
  end)
end)
