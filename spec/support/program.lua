-- Runs the executable as a user would, through a shell, and says what came of it.
local M = {}

-- LETHE names the executable; else it is the one that runs this, if one does.
local function find()
  local i = 0
  while arg and arg[i - 1] do
    i = i - 1
  end
  local running = arg and arg[i]
  return os.getenv("LETHE") or running and running:match("^.*/lethe$") or "build/lethe"
end

M.path = find()

local temporary = {} -- what M.clean removes

-- A new file, for the caller to remove.
local function write(text)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "wb"))
  file:write(text or "")
  return path
end

-- Removes the files that a run needed for itself when its scope ends.
local function scratch()
  return setmetatable({}, {
    __close = function(paths)
      for _, path in ipairs(paths) do
        os.remove(path)
      end
    end,
  })
end

---A temporary file with this text; `M.clean` removes it.
---@param text string?
---@return string path
function M.file(text)
  local path = write(text)
  temporary[#temporary + 1] = path
  return path
end

---A temporary directory; `M.clean` removes it with all that is in it.
---@return string path
function M.directory()
  local path = M.file()
  os.remove(path)
  assert(os.execute("mkdir " .. path))
  return path
end

---Removes what `file` and `directory` made.
function M.clean()
  for _, path in ipairs(temporary) do
    if not os.remove(path) then
      os.execute("rm -rf '" .. path .. "'")
    end
  end
  temporary = {}
end

---@param path string
---@return string
function M.read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

---@param text string
---@return string
function M.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

---Runs a shell command in which "lethe" as a word of its own is the executable.
---@param command string
---@param input string? its standard input; nothing by default
---@return string out, string err, integer code
function M.run(command, input)
  local errors = write()
  local own <close> = scratch()
  local from = input and write(input) or "/dev/null"
  own[1], own[2] = errors, input and from
  local words = (" " .. command .. " "):gsub("([%s;(])lethe%f[%s]", "%1" .. M.quote(M.path))
  local pipe = assert(io.popen(("{ %s; } <%s 2>%s"):format(words, from, errors)))
  local out = pipe:read("a")
  local _, kind, code = pipe:close()
  return out, M.read(errors), kind == "signal" and 128 + code or code
end

---Runs Lua source as a script file of the executable.
---@param source string
---@param options string? what stands before the script
---@return string out, string err, integer code
function M.script(source, options)
  local own <close> = scratch()
  own[1] = write(source)
  return M.run(("lethe %s %s"):format(options or "", own[1]))
end

---Runs a command on a terminal of its own; what is typed goes in at once.
---@param command string as for `run`
---@param typed string?
---@return string out, integer code
function M.terminal(command, typed)
  local words = (" " .. command .. " "):gsub("([%s;(])lethe%f[%s]", "%1" .. M.quote(M.path))
  local out, _, code = M.run("script -qec " .. M.quote(words) .. " /dev/null", typed or "")
  return out, code
end

return M
