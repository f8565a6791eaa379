-- Checks the pages that people read, run by lethe itself: `build/lethe spec/tools/pages.lua`.
--
-- In every README.md, and CHANGELOG.md: each ```lua block runs without an error, with the checkout
-- as its folder and build/lethe as its interpreter (those of the README at the top are run by
-- spec/readme_spec.lua, which also reads what they print); each ```c block compiles; each
-- `make target` names a target; each relative link leads to a file. A block behind an HTML comment
-- "not run: why" is only read: it must be Lua. The tables of five folders leave nothing out that
-- lies in them.
package.path = "./?.lua;" .. package.path
local sources = require "spec.tools.sources"

local LETHE <const> = os.getenv("LETHE") or "build/lethe"

local complaints, ran = {}, 0
local function complain(format, ...)
  complaints[#complaints + 1] = format:format(...)
end

local function with_file(text, suffix, fn)
  local stem = os.tmpname()
  local path = stem .. suffix
  do
    local file <close> = assert(io.open(path, "wb"))
    file:write(text)
  end
  fn(path)
  os.remove(path)
  os.remove(stem)
end

-- Runs a command; what it printed, if it failed.
local function failure(command)
  local pipe = assert(io.popen("{ " .. command .. " ; } </dev/null 2>&1"))
  local out = pipe:read("a")
  return not pipe:close() and (out:gsub("%s+$", "")) or nil
end

local RUN <const> = {
  lua = function(path) return failure(("timeout 60 %s %s"):format(LETHE, path)) end,
  c = function(path)
    return failure(("gcc -std=c11 -D_GNU_SOURCE -Wall -Iruntime/include -fsyntax-only %s")
      :format(path))
  end,
}

local function check_block(where, language, text, only_read)
  local run = RUN[language]
  if not run then return end
  if only_read then
    local ok, message = load(text, "=block")
    if language == "lua" and not ok then complain("%s: %s", where, message) end
    return
  end
  ran = ran + 1
  with_file(text, "." .. language, function(path)
    local message = run(path)
    if message then complain("%s: the %s block fails:\n%s", where, language, message) end
  end)
end

-- Calls fn(line, language, text, only_read) for each fenced block.
local function each_block(page, fn)
  local block, language, start, line, before = nil, nil, 0, 0, ""
  for text in (page .. "\n"):gmatch("([^\n]*)\n") do
    line = line + 1
    if not block then
      language = text:match("^%s*```%s*(%w*)")
      if language then block, start = {}, line end
    elseif text:find("^%s*```%s*$") then
      fn(start, language, table.concat(block, "\n") .. "\n", before:find("<!%-%- not run: ") ~= nil)
      block, before = nil, ""
    else
      block[#block + 1] = text
    end
    if not block and text:find("%S") and not text:find("^%s*```") then before = text end
  end
end

local function make_targets()
  local targets = {}
  for name in ("\n" .. sources.read(".", "Makefile")):gmatch("\n([%a][%w_-]*):") do
    targets[name] = true
  end
  return targets
end

local function exists(path)
  return os.execute(("test -e '%s'"):format(path)) == true
end

local targets <const> = make_targets()

local function check_page(path)
  local page <const> = sources.read(".", path)
  each_block(page, function(line, language, text, only_read)
    check_block(("%s:%d"):format(path, line), language, text, only_read or path == "README.md")
  end)
  for target in page:gmatch("`make ([%a][%w_-]*)[^`]*`") do
    if not targets[target] then complain("%s: there is no make target %s", path, target) end
  end
  for line in page:gmatch("[^\n]+") do
    local target = line:match("^%s*make ([%a][%w_-]*)") or line:match("&& make ([%a][%w_-]*)")
    if target and not targets[target] then
      complain("%s: there is no make target %s", path, target)
    end
  end
  local folder <const> = path:match("^(.*/)") or ""
  for link in page:gmatch("%]%(([^)%s#]+)[^)]*%)") do
    if not link:find("^%a+:") and not exists(folder .. link) then
      complain("%s: the link %s leads nowhere", path, link)
    end
  end
end

local pages = {}
for _, path in ipairs(sources.lines("find . -name README.md -not -path './build/*' "
  .. "-not -path './.git/*' | sed 's,^./,,' | sort")) do
  pages[#pages + 1] = path
end
pages[#pages + 1] = exists("CHANGELOG.md") and "CHANGELOG.md" or nil
for _, path in ipairs(pages) do
  check_page(path)
end

-- Whether a name in a table's first column is that of the file: * is any text, [ch] either letter.
local function is_listed(page, file)
  for cell in page:gmatch("\n| (`[^|]*`) |") do
    for name in cell:gmatch("`([^`]+)`") do
      local pattern <const> = "^" .. name:gsub("%.", "%%."):gsub("%*", ".*") .. "$"
      if file:find(pattern) then return true end
    end
  end
  return false
end

-- fn(path) is the name under which a file below the folder is to be listed.
local function check_listing(folder, fn)
  local page <const> = sources.read(".", folder .. "/README.md")
  local missed = {}
  for _, path in ipairs(sources.lines(("cd %s && find . -type f | sed 's,^./,,' | sort")
    :format(folder))) do
    local name <const> = fn(path)
    if name and not missed[name] and not is_listed(page, name) then
      missed[name] = true
      complain("%s/README.md does not list %s", folder, name)
    end
  end
end

check_listing("bindings", function(path) return path ~= "README.md" and path or nil end)
check_listing("lua", function(path)
  local name <const> = path:match("^lethe/(.+)")
  return name and name ~= "init.lua" and (name:match("^[^/]+/") or name:gsub("%.lua$", "")) or nil
end)
check_listing("runtime", function(path) return path:match("^.*/") end)
check_listing("spec", function(path) return path:match("^[^/]+/") end)
check_listing("spec/examples", function(path) return path ~= "README.md" and path or nil end)

for _, folder in ipairs({ "", "runtime/", "bindings/", "lua/", "spec/", "rockspec/" }) do
  if not exists(folder .. "README.md") then complain("%sREADME.md is missing", folder) end
end
sources.report(complaints, ("pages: %d, %d blocks of code run"):format(#pages, ran))
