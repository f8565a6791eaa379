-- `lethe replay`: runs a transcript of a kernel again.
local options = require "lethe.cli.options"

local M = {}

M.summary = "run a kernel's transcript again, vat by vat"

local OPTIONS <const> = {
  { name = "help", short = "h", help = "this text" },
}

---@return string
function M.help()
  return "usage: lethe replay TRANSCRIPT BUILDFILE\n\n"
    .. "Gives each vat of the transcript its deliveries again and compares what it asks for. The\n"
    .. "build file is a Lua script that returns the vats' builds by name, as Kernel:vat takes\n"
    .. "them ({ raw = setup } for raw ones). The exit code is 0 when every record came again,\n"
    .. "else the first that did not is shown, and the code is 1.\n\n" .. options.describe(OPTIONS)
end

local function failed(message)
  io.stderr:write("lethe replay: ", message, "\n")
  return 1
end

local function read_builds(path)
  local chunk, message = loadfile(path)
  if not chunk then return nil, message end
  local ok, builds = xpcall(chunk, debug.traceback, path)
  if not ok then return nil, builds end
  if type(builds) ~= "table" then
    return nil, ("%s returns no table of builds"):format(path)
  end
  return builds
end

-- What came instead, a line for each side.
local function show(index, expected, got)
  local line = require("lethe.vat.transcript").line
  io.stdout:write(("record %d\n  expected %s\n  got      %s\n"):format(index, line(expected),
    got and line(got) or "nothing: the vat has ended"))
end

---@param args string[]
---@return integer exit code
function M.main(args)
  local given, rest = options.parse(args, OPTIONS)
  local usage_error = require("lethe.cli").usage_error
  if given == nil then
    return usage_error(rest .. "; see lethe replay --help")
  elseif given.help then
    io.stdout:write(M.help())
    return 0
  elseif #rest ~= 2 then
    return usage_error("replay takes a transcript and a build file; see lethe replay --help")
  end
  local builds, why = read_builds(rest[2])
  if not builds then return failed(why) end
  local replay = require("lethe.vat").replay
  local done, ok, message, code, index, expected, got = pcall(replay, rest[1], builds)
  if not done then return failed(ok) end
  if ok then
    io.stdout:write("every record came again\n")
    return 0
  end
  if code == "diverged" then show(index, expected, got) end
  return failed(message)
end

return M
