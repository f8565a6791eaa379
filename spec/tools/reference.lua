-- Writes the reference in Markdown, a page for each module, out of the stubs and annotations:
-- `lua5.4 spec/tools/reference.lua DIRECTORY`. docscov sees to it that nothing is missing there.
package.path = "./?.lua;" .. package.path
local annotations = require "spec.tools.annotations"
local sources = require "spec.tools.sources"

local module_of <const> = annotations.module_of

-- ---- reading ----------------------------------------------------------------------------------

-- Text, @param, @return and @overload lines of the comment block above a function.
local function parse_block(block)
  local of = { text = {}, params = {}, returns = {}, overloads = {} }
  for line in block:gmatch("[^\n]+") do
    line = line:gsub("^%-%-%-?%s?", "")
    local tag, rest = line:match("^@(%a+)%s+(.*)$")
    if tag == "param" then
      of.params[#of.params + 1] = rest
    elseif tag == "return" then
      of.returns[#of.returns + 1] = rest
    elseif tag == "overload" then
      of.overloads[#of.overloads + 1] = rest
    elseif not tag then
      of.text[#of.text + 1] = line
    end
  end
  return of
end

-- A type at the start of a text and what follows it: types contain blanks within brackets, after a
-- colon, a comma or "fun", and around "|".
local function split_type(text)
  local depth, i = 0, 1
  while i <= #text do
    local c <const> = text:sub(i, i)
    if c:find("[%(%{%[<]") then depth = depth + 1 end
    if c:find("[%)%}%]>]") then depth = depth - 1 end
    if c == " " and depth == 0 then
      local before, after = text:sub(1, i - 1), text:sub(i + 1)
      if not before:find("[:,|]$") and not after:find("^|") then return before, after end
    end
    i = i + 1
  end
  return text, ""
end

-- The pages: module -> { head, types = list, owners = list of { name, functions } }.
local pages = {}

local function page_of(module)
  if not pages[module] then pages[module] = { types = {}, owners = {}, by_name = {} } end
  return pages[module]
end

local function owner_of(page, class)
  if not page.by_name[class] then
    local owner = { name = class, functions = {}, text = {} }
    page.by_name[class] = owner
    page.owners[#page.owners + 1] = owner
  end
  return page.by_name[class]
end

-- Aliases, and classes that are nothing but fields.
local function read_types(page, path)
  local text, block = {}, nil
  for line in (sources.read(".", path) .. "\n"):gmatch("([^\n]*)\n") do
    local class, alias = line:match("^%-%-%-@class%s+(.*)$"), line:match("^%-%-%-@alias%s+(.*)$")
    local field = line:match("^%-%-%-@field%s+(.*)$")
    if class then
      block = { name = class:match("^[%w_.]+"), fields = {}, text = text }
      page.types[#page.types + 1] = block
      text = {}
    elseif alias then
      local name, rest = alias:match("^([%w_.]+)%s*(.*)$")
      page.types[#page.types + 1] = { name = name, alias = rest, text = text }
      text = {}
    elseif line:find("^%-%-%-|") then
      local of = page.types[#page.types]
      of.alias = of.alias .. (of.alias == "" and "" or "|") .. line:match("^%-%-%-|%s*(.*)$")
    elseif field and block then
      block.fields[#block.fields + 1] = field
    elseif line:find("^%-%-%- ") then
      text[#text + 1] = line:sub(5)
    else
      local variable = line:find("^local ") and block
      if variable then owner_of(page, block.name).text = block.text end
      text, block = {}, nil
    end
  end
end

-- The paragraph with which a module opens.
local function read_head(page, path)
  local head = {}
  for line in sources.read(".", path):gmatch("([^\n]*)\n") do
    if not line:find("^%-%-") or line:find("^%-%-%-@") then break end
    head[#head + 1] = line:gsub("^%-%-%-?%s?", "")
  end
  if #head > 0 then page.head = head end
end

local function read_functions(page, path)
  annotations.each_function(path, function(class, name, block, parameters)
    if not block:find("%-%-%-") then return end
    local owner <const> = owner_of(page, class)
    if owner[name] then return end -- its stub said more
    local of = parse_block(block)
    of.name, of.parameters, owner[name] = name, parameters, true
    table.insert(owner.functions, of)
  end)
end

-- ---- writing ----------------------------------------------------------------------------------

local function code(text)
  return "`" .. text .. "`"
end

local function paragraph(lines)
  local out, in_code = {}, false
  for _, line in ipairs(lines) do
    local indented <const> = line:find("^  ") ~= nil
    if indented ~= in_code and (indented or line ~= "") then
      if in_code and out[#out] == "" then
        out[#out], out[#out + 1] = "```", ""
      else
        out[#out + 1] = indented and "```lua" or "```"
      end
      in_code = indented
    end
    out[#out + 1] = indented and line:sub(3) or line
  end
  if in_code then out[#out + 1] = "```" end
  return table.concat(out, "\n")
end

local function signature(owner, module, of)
  local params = of.parameters
  if owner == module then
    return ("%s.%s(%s)"):format(module:match("[%w_]+$"), of.name, params)
  end
  params = params:gsub("^self,?%s*", "")
  return ("%s:%s(%s)"):format(owner:match("[%w_]+$"), of.name, params)
end

local function write_function(out, owner, module, of)
  out[#out + 1] = ("### `%s`\n"):format(signature(owner, module, of))
  if #of.text > 0 then out[#out + 1] = paragraph(of.text) .. "\n" end
  for _, param in ipairs(of.params) do
    local name, rest = param:match("^(%S+)%s+(.*)$")
    local kind, text = split_type(rest)
    out[#out + 1] = ("- **%s** %s%s"):format(name, code(kind), text == "" and "" or ": " .. text)
  end
  for _, result in ipairs(of.returns) do
    local kind, text = split_type(result)
    out[#out + 1] = ("- returns %s%s"):format(code(kind), text == "" and "" or " " .. text)
  end
  for _, overload in ipairs(of.overloads) do
    out[#out + 1] = "- also " .. code(overload)
  end
  out[#out + 1] = ""
end

local function write_type(out, of)
  out[#out + 1] = ("### `%s`\n"):format(of.name)
  if #of.text > 0 then out[#out + 1] = table.concat(of.text, "\n") .. "\n" end
  if of.alias then
    local kind, text = split_type(of.alias)
    out[#out + 1] = ("%s%s\n"):format(code(kind), text == "" and "" or ": " .. text)
  end
  for _, field in ipairs(of.fields or {}) do
    local name, rest = field:match("^(%S+)%s+(.*)$")
    local kind, text = split_type(rest)
    out[#out + 1] = ("- **%s** %s%s"):format(name, code(kind), text == "" and "" or ": " .. text)
  end
  out[#out + 1] = ""
end

local function write_page(module, page)
  local out = { "# " .. module .. "\n" }
  if page.head then out[#out + 1] = paragraph(page.head) .. "\n" end
  for _, owner in ipairs(page.owners) do
    if #owner.functions > 0 then
      if owner.name ~= module then out[#out + 1] = ("## %s\n"):format(owner.name) end
      if #owner.text > 0 then out[#out + 1] = table.concat(owner.text, "\n") .. "\n" end
      for _, of in ipairs(owner.functions) do
        write_function(out, owner.name, module, of)
      end
    end
  end
  local types, known = {}, {}
  for _, of in ipairs(page.types) do
    local fields = of.fields and #of.fields > 0 and not page.by_name[of.name]
    if (of.alias or fields) and not known[of.name] then types[#types + 1] = of end
    known[of.name] = true
  end
  if #types > 0 then out[#out + 1] = "## Types\n" end
  for _, of in ipairs(types) do
    write_type(out, of)
  end
  return table.concat(out, "\n"):gsub("\n\n\n+", "\n\n")
end

-- ---- main -------------------------------------------------------------------------------------

local directory <const> = assert(arg[1], "a directory expected")
assert(os.execute(("mkdir -p '%s'"):format(directory)))

-- lethe and the modules that are its fields.
local public = { lethe = true }
local faces <const> = sources.read(".", "lua/lethe/init.lua")
for module in faces:gmatch("%-%-%-@field [%w_]+ (lethe%.[%w_]+)") do
  public[module] = true
end

-- Stubs first: where both speak, they say more.
local paths = sources.files(".", "lua/lethe/meta", "%.lua$")
table.move(sources.files(".", "lua/lethe", "^lua/lethe/[%w_]+%.lua$"), 1, 100, #paths + 1, paths)

-- The first sentence of a page, in one line.
local function summary(page)
  local text = table.concat(page.head or {}, " ")
  return text:match("^.-%.%f[%s\0]") or text
end

local names, functions = {}, 0
for _, path in ipairs(paths) do
  local module <const> = module_of(path)
  if public[module] then
    if not pages[module] then names[#names + 1] = module end
    local page <const> = page_of(module)
    if not path:find("/meta/") then read_head(page, path) end
    read_types(page, path)
    read_functions(page, path)
  end
end
table.sort(names)
local index = { "# Reference\n" }
for _, module in ipairs(names) do
  local page <const> = pages[module]
  local n = 0
  for _, owner in ipairs(page.owners) do
    n = n + #owner.functions
  end
  if n > 0 then
    functions = functions + n
    local file <close> = assert(io.open(("%s/%s.md"):format(directory, module), "wb"))
    file:write((write_page(module, page)))
    index[#index + 1] = ("- [%s](%s.md): %s"):format(module, module, summary(page))
  end
end
local file <close> = assert(io.open(directory .. "/README.md", "wb"))
file:write(table.concat(index, "\n"), "\n")
print(("reference: %d pages, %d functions and methods"):format(#index - 1, functions))
