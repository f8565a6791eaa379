-- Every Lua snippet of the README runs, and prints what its comments say it prints.

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

-- The snippets, each with the line it begins on.
local function snippets(text)
  local list = {}
  for position, code in text:gmatch("()```lua\n(.-)```") do
    local _, line = text:sub(1, position):gsub("\n", "")
    list[#list + 1] = { line = line + 2, code = code }
  end
  return list
end

-- What a snippet promises: the words after each "-->", in order.
local function promised(code)
  local list = {}
  for words in code:gmatch("%-%->%s*([^\n]*)") do
    list[#list + 1] = words
  end
  return list
end

-- Runs a snippet; what it printed, a line each, single-spaced.
local function run(snippet)
  local printed = {}
  local env = setmetatable({
    print = function(...)
      local words = {}
      for i = 1, select("#", ...) do
        words[i] = tostring((select(i, ...)))
      end
      printed[#printed + 1] = (table.concat(words, " "):gsub("%s+", " "))
    end,
  }, { __index = _G })
  assert(load(snippet.code, "=README.md:" .. snippet.line, "t", env))()
  return printed
end

describe("README.md", function()
  local text = read("README.md")

  it("has snippets of every module that it names", function()
    assert.is_true(#snippets(text) >= 7)
  end)

  it("shows both commands", function()
    assert.is_truthy(text:find("make demo", 1, true))
    assert.is_truthy(text:find("make test", 1, true))
  end)

  for _, snippet in ipairs(snippets(text)) do
    it("runs the snippet at line " .. snippet.line, function()
      local printed = run(snippet)
      for i, words in ipairs(promised(snippet.code)) do
        local want = words:gsub("%s+", " "):gsub(" %.%.%. .*$", "")
        local got = printed[#printed - #promised(snippet.code) + i] or ""
        assert.are.equal(want:gsub(",$", ""), got:sub(1, #(want:gsub(",$", ""))))
      end
    end)
  end
end)
