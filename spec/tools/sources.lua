-- What the structural checks share: finding and reading source files, taking comments out, scratch
-- copies in which offenders are planted, and the report at the end.
local M = {}

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

---The lines that a shell command prints.
---@param command string
---@return string[]
function M.lines(command)
  local list = {}
  local pipe <close> = assert(io.popen(command))
  for line in pipe:lines() do
    list[#list + 1] = line
  end
  return list
end

---The files below root/folder whose names match, as paths relative to root, sorted.
---@param root string
---@param folder string
---@param pattern string a Lua pattern
---@return string[]
function M.files(root, folder, pattern)
  local list = {}
  local find = ("cd %s && find %s -type f 2>/dev/null"):format(quote(root), quote(folder))
  for _, path in ipairs(M.lines(find)) do
    if path:find(pattern) then list[#list + 1] = path end
  end
  table.sort(list)
  return list
end

---@param root string
---@param path string
---@return string
function M.read(root, path)
  local file <close> = assert(io.open(root .. "/" .. path, "rb"))
  return file:read("a")
end

local function blank(text)
  return (text:gsub("[^\n]", " "))
end

---C source without its comments; lines stay where they are, strings stay as they are.
---@param text string
---@return string
function M.strip_c(text)
  local out, i = {}, 1
  while true do
    local start = text:find("[\"'/]", i)
    if not start then break end
    out[#out + 1] = text:sub(i, start - 1)
    local two, first = text:sub(start, start + 1), text:sub(start, start)
    local stop
    if two == "/*" then
      stop = select(2, text:find("*/", start + 2, true)) or #text
      out[#out + 1] = blank(text:sub(start, stop))
    elseif two == "//" then
      stop = (text:find("\n", start, true) or #text + 1) - 1
    elseif first == "/" then
      stop = start
      out[#out + 1] = first
    else
      stop = start + 1
      while stop <= #text and text:sub(stop, stop) ~= first do
        stop = stop + (text:sub(stop, stop) == "\\" and 2 or 1)
      end
      out[#out + 1] = text:sub(start, stop)
    end
    i = stop + 1
  end
  out[#out + 1] = text:sub(i)
  return table.concat(out)
end

---Lua source without its comments; lines stay where they are.
---@param text string
---@return string
function M.strip_lua(text)
  text = text:gsub("%-%-%[(=*)%[.-%]%1%]", blank)
  return (text:gsub("%-%-[^\n]*", ""))
end

---The number of the line that holds the byte at `position`.
---@param text string
---@param position integer
---@return integer
function M.line_of(text, position)
  return select(2, text:sub(1, position):gsub("\n", "")) + 1
end

---Copies folders of the checkout to a scratch place and hands it to fn; removes it afterwards.
---@param folders string[]
---@param fn fun(root: string)
function M.with_copy(folders, fn)
  local root = os.tmpname()
  os.remove(root)
  assert(os.execute(("mkdir %s && cp -R %s %s/"):format(root, table.concat(folders, " "), root)))
  local ok, message = pcall(fn, root)
  os.execute("rm -rf " .. quote(root))
  assert(ok, message)
end

---Adds text at the end of a file of a scratch copy, which may be new.
---@param root string
---@param path string
---@param text string
function M.append(root, path, text)
  local file <close> = assert(io.open(root .. "/" .. path, "ab"))
  file:write(text)
end

---Plants each offender in a scratch copy by itself; all must be found, in the file where they are.
---@param folders string[]
---@param offenders { path: string, text: string, says: string, also: table? }[]
---@param check fun(root: string): string[] complaints
---@return string[] complaints about those that were not found
function M.plant(folders, offenders, check)
  local missed = {}
  for _, offender in ipairs(offenders) do
    M.with_copy(folders, function(root)
      M.append(root, offender.path, offender.text)
      if offender.also then M.append(root, offender.also.path, offender.also.text) end
      local found = false
      for _, complaint in ipairs(check(root)) do
        if complaint:find(offender.path, 1, true) and complaint:find(offender.says, 1, true) then
          found = true
        end
      end
      if not found then
        missed[#missed + 1] = ("planted in %s and not found: %s"):format(offender.path,
          offender.text:gsub("\n", " "))
      end
    end)
  end
  return missed
end

---Prints complaints, or a line that says what was looked at, and ends the program.
---@param complaints string[]
---@param good string
function M.report(complaints, good)
  for _, complaint in ipairs(complaints) do
    io.stderr:write(complaint, "\n")
  end
  if #complaints == 0 then print(good) end
  os.exit(#complaints == 0, true)
end

return M
