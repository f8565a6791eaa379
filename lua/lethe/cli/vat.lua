-- `lethe vat`: runs a vat script and prints its log.
local options = require "lethe.cli.options"

local M = {}

M.summary = "run a vat script, print what each operation did"

local OPTIONS <const> = {
  { name = "schedule", value = "SEED", read = options.integer,
    help = "let Lua's collector loose, by a seed" },
  { name = "engine", value = "NAME", read = options.one_of("lua", "manual"),
    help = "lua or manual; else what the script says" },
  { name = "html", value = "OUT", help = "draw the timeline too, a page of its own" },
  { name = "help", short = "h", help = "this text" },
}

---@return string
function M.help()
  return "usage: lethe vat [options] SCRIPT.jsonl\n\n"
    .. "Runs a script of operations on one vat and prints its log, a JSON line for each: what the\n"
    .. "vat said, what it answered, and where every name stood afterwards. A schedule makes the\n"
    .. "collector run at odd moments: states may differ by it, what was said and answered not.\n\n"
    .. options.describe(OPTIONS)
end

local function failed(message)
  io.stderr:write("lethe vat: ", message, "\n")
  return 1
end

local function print_log(log)
  local line = require("lethe.vat.script").line
  for _, record in ipairs(log) do
    local ok, message = io.stdout:write(line(record), "\n")
    if not ok then return failed(message) end
  end
  return 0
end

---@param args string[]
---@return integer exit code
function M.main(args)
  local given, rest = options.parse(args, OPTIONS)
  local usage_error = require("lethe.cli").usage_error
  if given == nil then
    return usage_error(rest .. "; see lethe vat --help")
  elseif given.help then
    io.stdout:write(M.help())
    return 0
  elseif #rest ~= 1 then
    return usage_error("vat takes one script; see lethe vat --help")
  end
  local path = rest[1]
  local run = require("lethe.vat").run_script
  local done, log, message = pcall(run, path, { engine = given.engine, schedule = given.schedule })
  if not done then return failed(log) end
  if not log then return failed(message) end
  if given.html then
    local title = path:match("[^/]+$"):gsub("%.jsonl$", "")
    local ok, why = require("lethe.vat.timeline").write(given.html, title, log)
    if not ok then return failed(why) end
  end
  return print_log(log)
end

return M
