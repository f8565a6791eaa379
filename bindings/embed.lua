-- Build tool: turns Lua sources into one C file that the executable links. Takes the files (below
-- lua/) as arguments and writes C to standard output: a list of module name, chunk name and source,
-- three strings each, ended by NULL.

local ESCAPES <const> = {
  ["\\"] = "\\\\", ['"'] = '\\"', ["?"] = "\\?", ["\t"] = "\\t", ["\r"] = "\\r",
}

-- A C string literal. "?" is escaped because standard C knows trigraphs; other bytes as three octal
-- digits, which no digit behind them can lengthen.
local function literal(text)
  return '"' .. text:gsub('[\\"?\t\r]', ESCAPES):gsub("[^\32-\126]", function(c)
    return ("\\%03o"):format(c:byte())
  end) .. '"'
end

-- The source as literals that the compiler joins, one a line.
local function lines(source)
  local result = {}
  for line, newline in source:gmatch("([^\n]*)(\n?)") do
    if line ~= "" or newline ~= "" then
      local text = literal(line)
      result[#result + 1] = "   " .. (newline == "" and text or text:sub(1, -2) .. '\\n"')
    end
  end
  return #result > 0 and table.concat(result, "\n") or '   ""'
end

local function module_name(path)
  return (path:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local source <const> = assert(file:read("a"))
  file:close()
  assert(load(source, "@" .. path, "t"))
  assert(not source:find("\0", 1, true), path .. ": a zero byte cannot be embedded")
  return source
end

local files = table.move(arg, 1, #arg, 1, {})
table.sort(files)
io.write("/* Made by bindings/embed.lua; do not edit. */\n#include <stddef.h>\n\n",
  "extern const char *const lethe_embedded[];\nconst char *const lethe_embedded[] = {\n")
for _, path in ipairs(files) do
  local short = path:match("lua/(lethe/?.*)$") or path:match("([^/]+)$")
  io.write(("  %s, %s,\n%s,\n"):format(literal(module_name(short)), literal("@" .. short),
    lines(read(path))))
end
io.write("  NULL};\n")
