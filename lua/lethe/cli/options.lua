-- Reads the command line of a subcommand: long options as `--name value` or `--name=value`, short
-- ones as `-n value` or `-nvalue`, `--` before what is none.
local base = require "lethe.core.base"

local M = {}

---@class lethe.cli.Option
---@field name string the long name
---@field short string? one letter
---@field value string? what its value is called in help; without one it is a switch
---@field help string
---@field many boolean? may be given several times; the result is a list
---@field read (fun(text: string): any, string?)? the value, or nil and what is expected

-- ---- values: what `read` may be ---------------------------------------------------------------

---One of these words.
---@param ... string
---@return fun(text: string): string?, string?
function M.one_of(...)
  local names = { ... }
  return function(text)
    for _, name in ipairs(names) do
      if name == text then
        return text
      end
    end
    return nil, table.concat(names, ", ", 1, #names - 1) .. " or " .. names[#names]
  end
end

---@param text string
---@return integer?
---@return string expected
function M.integer(text)
  return text:find("^%-?%d+$") and math.tointeger(tonumber(text)) or nil, "an integer"
end

---@param text string
---@return integer?
---@return string expected
function M.positive(text)
  local n = math.tointeger(tonumber(text))
  return n and n > 0 and n or nil, "a number from 1"
end

-- ---- parsing ------------------------------------------------------------------------------------

local function long_names(known)
  local names = {}
  for i, option in ipairs(known) do
    names[i] = "--" .. option.name
  end
  return names
end

local function find(known, field, value)
  for _, option in ipairs(known) do
    if option[field] == value then
      return option
    end
  end
end

-- Splits one argument into the option it names and the value attached to it.
local function split(arg, known)
  local name, attached = arg:match("^%-%-([^=]+)=(.*)$")
  name = name or arg:match("^%-%-(.+)$")
  if name then
    return find(known, "name", name), attached
  end
  local letter, rest = arg:match("^%-(.)(.*)$")
  return find(known, "short", letter), rest ~= "" and rest or nil
end

local function store(result, option, value)
  local key = option.name:gsub("%-", "_")
  if option.many then
    result[key] = result[key] or {}
    table.insert(result[key], value)
  else
    result[key] = value
  end
end

local function convert(option, arg, text)
  if option.read == nil then
    return text
  end
  local value, expected = option.read(text)
  if value == nil then
    return nil, ("bad value %q of option %q (%s expected)"):format(text, arg, expected)
  end
  return value
end

---Parses `args`; the result has a field per option given, dashes as underscores.
---@param args string[]
---@param known lethe.cli.Option[]
---@return table? result
---@return string[]|string rest the other arguments, or what is wrong
function M.parse(args, known)
  local result, rest, i = {}, {}, 1
  while i <= #args do
    local arg = args[i]
    if arg == "--" then
      table.move(args, i + 1, #args, #rest + 1, rest)
      break
    elseif not arg:find("^%-.") then
      rest[#rest + 1] = arg
    else
      local option, attached = split(arg, known)
      if option == nil then
        local word = arg:match("^[^=]+")
        return nil, ("unknown option %q%s"):format(word, base.hint(word, long_names(known)))
      elseif option.value == nil then
        if attached then
          return nil, ("option %q takes no value"):format("--" .. option.name)
        end
        store(result, option, true)
      else
        if attached == nil then
          i = i + 1
          attached = args[i]
          if attached == nil then
            return nil, ("option %q needs a value (%s)"):format(arg, option.value)
          end
        end
        local value, message = convert(option, "--" .. option.name, attached)
        if value == nil then
          return nil, message
        end
        store(result, option, value)
      end
    end
    i = i + 1
  end
  return result, rest
end

---The lines that describe the options.
---@param known lethe.cli.Option[]
---@return string
function M.describe(known)
  local lines = {}
  for _, option in ipairs(known) do
    local short = option.short and ("-%s, "):format(option.short) or "    "
    local value = option.value and " " .. option.value or ""
    lines[#lines + 1] = ("  %s%-24s %s\n"):format(short, "--" .. option.name .. value, option.help)
  end
  return table.concat(lines)
end

return M
