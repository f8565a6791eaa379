-- The sandbox's patterns are those of Lua: compared on random patterns and subjects, by every
-- function that takes a pattern. SEED and CASES in the environment choose other and more of them.
local pattern = require "lethe.sandbox.pattern"
local sandbox = require "lethe.sandbox"
local chance = require "spec.support.chance"

local function message(env, source)
  local ok, text = pcall(assert(env.load(source, "=policy")))
  assert.is_false(ok)
  return text
end

-- ---- random patterns ----------------------------------------------------------------------------

local SEED = math.tointeger(tonumber(os.getenv("SEED"))) or 20240
local CASES = math.tointeger(tonumber(os.getenv("CASES"))) or 3000

local function pick(random, list)
  return list[random(#list)]
end

local BYTES = { "a", "b", "a", "b", "A", "1", " ", ".", "-", "(", ")", "]", "%", "\0", "\xE9" }
local SINGLES = { "a", "b", "a", "b", "1", ".", " ", "%a", "%d", "%S", "%w", "%.", "%%", "%]",
  "[ab]", "[^a]", "[a-z]", "[%a1]", "[^%s]", "[]a]", "[^]]", "[a-]", "[%a-z]", "[-a]", "[a%]]",
  "[b-a]", "\0", "\xE9", "-", "]", "[%w_]", "[%d%.]", "[^%]a]", "[a-%b]", "%y", "%X" }
local SUFFIXES = { "", "", "", "*", "+", "-", "?" }

local function subject(random)
  local out = {}
  for i = 1, random(14) - 1 do out[i] = pick(random, BYTES) end
  return table.concat(out)
end

local function random_pattern(random)
  local out = { random(6) == 1 and "^" or "" }
  local open = 0
  for _ = 1, random(6) do
    local kind = random(14)
    local text = pick(random, SINGLES) .. pick(random, SUFFIXES)
    if kind == 1 then
      text, open = "(", open + 1
    elseif kind == 2 and open > 0 then
      text, open = ")", open - 1
    elseif kind == 3 then
      text = "()"
    elseif kind == 4 then
      text = "%b" .. pick(random, { "()", "ab", "aa", ")(" })
    elseif kind == 5 then
      text = "%f" .. pick(random, { "[a]", "[%a]", "[^%a]", "[%z]", "[\0]" })
    elseif kind == 6 then
      text = "%" .. random(3)
    elseif kind == 7 then
      text = pick(random, { "%", "[", "[a", "%b", "%f", "%fa", ")", "$", "^", "[^", "%ba", "[%" })
    end
    out[#out + 1] = text
  end
  out[#out + 1] = (")"):rep(random(9) == 1 and open - 1 or open)
  if random(5) == 1 then out[#out + 1] = "$" end
  return table.concat(out)
end

local REPLACEMENTS = { "x", "", "%0", "<%1>", "%2%1", "%%", "%", "%a", "%9" }

-- Every way to use a pattern; each gives what a caller would see.
local USES = {
  find = function(lib, s, p, n) return lib.find(s, p, n) end,
  match = function(lib, s, p, n) return lib.match(s, p, n) end,
  gmatch = function(lib, s, p, n)
    local seen = {}
    for a, b, c in lib.gmatch(s, p, n) do
      seen[#seen + 1] = ("%s|%s|%s"):format(tostring(a), tostring(b), tostring(c))
    end
    return table.concat(seen, ",")
  end,
  gsub = function(lib, s, p, n)
    return lib.gsub(s, p, REPLACEMENTS[n % #REPLACEMENTS + 1], n > 8 and n - 8 or nil)
  end,
  gsub_function = function(lib, s, p)
    return lib.gsub(s, p, function(a, b)
      if a == "a" then return nil end
      return "{" .. tostring(a) .. tostring(b) .. "}"
    end)
  end,
  gsub_table = function(lib, s, p)
    return lib.gsub(s, p, { a = "x", b = false, [1] = "one", [""] = "empty" })
  end,
}

local function show(results)
  local out = {}
  for i = 1, results.n do out[i] = ("%s %q"):format(type(results[i]), results[i]) end
  return table.concat(out, "; ")
end

-- Compares a library with Lua's own. A pattern that ours refuses at once must be one that Lua's
-- refuses too when it comes to the bad item: so Lua finds nothing with it.
local function compare(lib, random)
  local s, p, n = subject(random), random_pattern(random), random(16)
  if random(4) == 1 then n = -n end
  for name, use in pairs(USES) do
    local theirs = table.pack(pcall(use, string, s, p, n))
    local ours = table.pack(pcall(use, lib, s, p, n))
    local what = ("%s(%q, %q, %d), SEED=%d"):format(name, s, p, n, SEED)
    if theirs[1] and not ours[1] then
      assert.is_truthy(ours[2]:find("malformed") or ours[2]:find("missing '['", 1, true)
        or ours[2]:find("invalid") or ours[2]:find("unfinished"), what .. ": " .. ours[2])
      -- Lua's did not come to an unfinished capture or a replacement if it had no use for it
      if not ours[2]:find("unfinished") and not ours[2]:find("replacement") then
        local ok, found = pcall(string.match, s, p)
        assert.is_false(ok and found ~= nil, what)
      end
    elseif not theirs[1] then
      assert.is_false(ours[1], what .. ": " .. show(theirs) .. " / " .. show(ours))
    else
      assert.are.equal(show(theirs), show(ours), what)
    end
  end
end

describe("the sandbox's patterns", function()
  -- A library that never leaves a pattern to the C library.
  local function own_matcher()
    local compile = pattern.compile
    local env = sandbox.build()
    local lib = {}
    for name, fn in pairs(env.string) do
      lib[name] = function(...)
        pattern.compile = function(source)
          local prog, problem = compile(source)
          if prog then prog.linear = false end
          return prog, problem
        end
        local results = table.pack(pcall(fn, ...))
        pattern.compile = compile
        if not results[1] then error(results[2], 0) end
        return table.unpack(results, 2, results.n)
      end
    end
    return lib
  end

  it("find, match and replace what Lua's own do, on random patterns", function()
    local random, lib = chance.generator(SEED), sandbox.build().string
    for _ = 1, CASES do compare(lib, random) end
  end)

  it("do so in the matcher written in Lua alone", function()
    local random, lib = chance.generator(SEED + 1), own_matcher()
    for _ = 1, CASES do compare(lib, random) end
  end)

  it("agree with Lua on every byte in every class", function()
    local lib = own_matcher()
    for letter in ("acdglpsuwxzACDGLPSUWXZ"):gmatch(".") do
      for b = 0, 255 do
        local c = string.char(b)
        assert.are.equal(c:find("%" .. letter), lib.find(c, "%" .. letter))
        assert.are.equal(c:find("[^%" .. letter .. "]"), lib.find(c, "[^%" .. letter .. "]"))
      end
    end
  end)

  it("take ^ in gmatch as a character", function()
    local s, list = sandbox.build().string, {}
    for w in s.gmatch("^a^a", "^a") do list[#list + 1] = w end
    assert.are.same({ "^a", "^a" }, list)
  end)

  it("refuse a malformed pattern at the caller's line, by Lua's words", function()
    local env = sandbox.build()
    local cases = {
      ["%"] = "malformed pattern (ends with '%')",
      ["[a"] = "malformed pattern (missing ']')",
      ["%b"] = "malformed pattern (missing arguments to '%b')",
      ["%f"] = "missing '[' after '%f' in pattern",
      ["("] = "unfinished capture",
      [")"] = "invalid pattern capture",
      ["%1"] = "invalid capture index %1 in pattern",
      [("()"):rep(33)] = "too many captures",
    }
    for source, text in pairs(cases) do
      local got = message(env, ("local r = string.match('x', %q) return r"):format(source))
      assert.are.equal("policy:1: " .. text, got)
    end
  end)

  it("bound the depth of the matcher", function()
    local env = sandbox.build()
    local deep = ("a?"):rep(250)
    assert.is_truthy(message(env, ("return (string.find('a', '%s'))"):format(deep))
      :find("pattern too complex", 1, true))
  end)

  it("accept numbers, negative starts and plain searches", function()
    local s = sandbox.build().string
    assert.are.same({ 2, 2 }, { s.find(123, 2) })
    assert.are.same({ 4, 4, "b" }, { s.find("abab", "(b)", -1) })
    assert.are.same({ 2, 3 }, { s.find("a.*", ".*", 2, true) })
    assert.is_nil(s.find("abc", "b", 10))
    assert.are.same({ "1-2", 1 }, { s.gsub("1+2", "%+", "-") })
  end)
end)
