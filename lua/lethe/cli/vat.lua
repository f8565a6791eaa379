-- `lethe vat`: runs a script of one vat, and prints the log.
local options = require "lethe.cli.options"

local M = {}

M.summary = "run a script of operations on one vat, and print the log"

local OPTIONS <const> = {
  { name = "engine", value = "NAME", help = "lua or manual; by default what the script says" },
  { name = "schedule", value = "SEED", help = "let the collector loose as this seed has it" },
  { name = "html", value = "FILE", help = "draw the timeline into this page, too" },
  { name = "help", short = "h", help = "this text" },
}

---@return string
function M.help()
  return "usage: lethe vat [options] SCRIPT.jsonl\n\n"
    .. "Runs the operations of a script, a JSON line each after the header, on the tables of\n"
    .. "one vat, and prints a JSON line for each: what was asked of the kernel, what userspace\n"
    .. "saw, and where every name stands.\n\n" .. options.describe(OPTIONS)
end

local function failed(message)
  io.stderr:write("lethe vat: ", message, "\n")
  return 1
end

local function draw(path, script, log)
  local file, message = io.open(path, "wb")
  if not file then return nil, message end
  file:write(require("lethe.vat.timeline").html(script, log))
  return file:close()
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
  local seed = given.schedule and math.tointeger(tonumber(given.schedule))
  if given.schedule and not seed then
    return usage_error(("--schedule takes an integer, not %q"):format(given.schedule))
  elseif given.engine and given.engine ~= "lua" and given.engine ~= "manual" then
    return usage_error(("--engine takes lua or manual, not %q"):format(given.engine))
  end
  local log, message = require("lethe.vat").run_script(rest[1],
    { engine = given.engine, schedule = seed })
  if not log then return failed(message) end
  local line = require("lethe.vat.script").line
  for _, record in ipairs(log) do
    io.stdout:write(line(record), "\n")
  end
  if given.html then
    local ok, why = draw(given.html, rest[1], log)
    if not ok then return failed(why) end
  end
  return 0
end

return M
