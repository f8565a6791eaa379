-- The Lua blocks of a Markdown page, and what their comments promise: words after "-->" are what a
-- block prints, line for line at its end; what is left open ends in "...".

local M = {}

---The blocks, each with the line it begins on.
---@param path string
---@return { path: string, line: integer, code: string }[]
function M.read(path)
  local file <close> = assert(io.open(path))
  local text, list = file:read("a"), {}
  for position, code in text:gmatch("()```lua\n(.-)```") do
    local _, line = text:sub(1, position):gsub("\n", "")
    list[#list + 1] = { path = path, line = line + 2, code = code }
  end
  return list
end

local function promised(code)
  local list = {}
  for words in code:gmatch("%-%->%s*([^\n]*)") do
    list[#list + 1] = words
  end
  return list
end

---An environment whose print keeps what it is given, a line each, single-spaced.
---@return table env, string[] printed
function M.environment()
  local printed = {}
  return setmetatable({
    print = function(...)
      local words = {}
      for i = 1, select("#", ...) do
        words[i] = tostring((select(i, ...)))
      end
      printed[#printed + 1] = (table.concat(words, " "):gsub("%s+", " "))
    end,
  }, { __index = _G }), printed
end

---Runs a block in the environment: pairs of what was promised and what was printed.
---@return { want: string, got: string }[]
function M.run(snippet, env, printed)
  local name <const> = ("=%s:%d"):format(snippet.path, snippet.line)
  assert(load(snippet.code, name, "t", env))()
  local words, list = promised(snippet.code), {}
  for i, text in ipairs(words) do
    local want = text:gsub("%s+", " "):gsub(" %.%.%. .*$", ""):gsub(" %.%.%.$", ""):gsub(",$", "")
    local got = printed[#printed - #words + i] or ""
    list[i] = { want = want, got = got:sub(1, #want) }
  end
  return list
end

return M
