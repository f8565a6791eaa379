-- `lethe record`: runs a script, and writes down what its caches and trackers see.
local options = require "lethe.cli.options"

local M = {}

M.summary = "run a script and record a trace of its caches and trackers"

local OPTIONS <const> = {
  { name = "output", short = "o", value = "TRACE", help = "the file that is written" },
  { name = "help", short = "h", help = "this text" },
}

---@return string
function M.help()
  return "usage: lethe record SCRIPT -o TRACE [arguments]\n\n"
    .. "Runs the script as lethe SCRIPT does. Each access to a cache that it makes, and each\n"
    .. "claim under a tracker, becomes a request of the trace, for lethe sim. Those of workers\n"
    .. "are not seen. The exit code is the script's.\n\n" .. options.describe(OPTIONS)
end

-- The options stand before or just behind the script; the rest of the line is the script's.
local function split(args)
  local ours, script, rest, i = {}, nil, {}, 1
  while i <= #args do
    local arg = args[i]
    if arg == "-o" or arg == "--output" then
      ours[#ours + 1] = arg
      ours[#ours + 1] = args[i + 1]
      i = i + 2
    elseif not script and arg:find("^%-.") or arg:find("^%-%-output=") or arg:find("^%-o.") then
      ours[#ours + 1] = arg
      i = i + 1
    elseif not script then
      script = arg
      i = i + 1
    else
      table.move(args, i, #args, 1, rest)
      break
    end
  end
  return ours, script, rest
end

local function failed(message)
  io.stderr:write("lethe record: ", message, "\n")
  return 1
end

-- From now on each cache and tracker that this state makes is watched.
local function attach(recorder)
  local core <const> = require "lethe.core.sim"
  require("lethe.core.base").shared("record").attach = function(object)
    if require("lethe.core.base").open(recorder) then core.watch(recorder, object) end
  end
end

-- The script as a task, then all that is left in the loop; an exit code.
local function run(script, rest)
  local loop <const> = require "lethe.loop"
  local chunk, message = loadfile(script)
  if not chunk then return failed(message) end
  rest[0] = script
  arg = rest -- luacheck: globals arg
  local ok, why, code = loop.default():spawn(function()
    chunk(table.unpack(rest))
    return true
  end):join()
  if not ok then
    return code == "cancelled" and 1 or failed(tostring(why))
  end
  loop.default():run()
  return loop.failures() > 0 and 1 or 0
end

local function close(recorder, path)
  local n = recorder:count()
  local ok, message = recorder:close()
  if not ok then return failed(("%s: %s"):format(path, message)) end
  io.stderr:write(("%s: %d requests\n"):format(path, n))
  return 0
end

---@param args string[]
---@return integer exit code
function M.main(args)
  local ours, script, rest = split(args)
  local given, message = options.parse(ours, OPTIONS)
  local usage_error = require("lethe.cli").usage_error
  if given == nil then
    return usage_error(message .. "; see lethe record --help")
  elseif given.help then
    io.stdout:write(M.help())
    return 0
  elseif not script or not given.output then
    return usage_error("record takes a script and -o TRACE; see lethe record --help")
  end
  local recorder, why = require("lethe.core.sim").record(given.output)
  if not recorder then return failed(why) end
  attach(recorder)
  local exit <const> = os.exit
  os.exit = function(...) -- luacheck: ignore 122
    close(recorder, given.output)
    exit(...)
  end
  local code <const> = run(script, rest)
  os.exit = exit -- luacheck: ignore 122
  local closed <const> = close(recorder, given.output)
  return code ~= 0 and code or closed
end

return M
