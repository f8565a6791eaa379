-- `lethe help [word]`: what the executable can do, or how one of its commands is used.
local M = {}

M.summary = "this overview, or how a command is used"

local OVERVIEW <const> = [=[
usage: lethe [options] [script [args]]
       lethe COMMAND [arguments]

Runs a Lua script as a task on the default loop; without one, standard input, or a prompt on a
terminal. The process ends when the script has returned and its loop has nothing left.

  -e STAT        run the string STAT
  -l MOD         require MOD into the global MOD
  -l NAME=MOD    require MOD into the global NAME
  -i             a prompt after the script
  -v             show the version
  -E             ignore the environment's LUA_ variables
  -W             turn warnings on
  --             end of the options
  -              run standard input as the script
  --help         this text
  --version      show the version

Commands (a script of that name is run as lethe ./NAME):

]=]

local CLOSING <const> = [[

Exit codes: 0 done, 1 the script or a spec failed, 2 wrong usage.
Environment: LUA_INIT, LUA_PATH and LUA_CPATH as in lua; LETHE_HISTORY names the prompt's history
file (~/.lethe_history); NO_COLOR turns colour off.
]]

---@return string
function M.help()
  return "usage: lethe help [command]\n\nSays what lethe can do, or how one command is used.\n"
end

---@return string
function M.overview()
  local cli = require "lethe.cli"
  local lines = {}
  for _, word in ipairs(cli.WORDS) do
    lines[#lines + 1] = ("  %-14s %s\n"):format(word, cli.command(word).summary)
  end
  return OVERVIEW .. table.concat(lines) .. CLOSING
end

---@param args string[]
---@return integer exit code
function M.main(args)
  local cli = require "lethe.cli"
  local word = args[1]
  if #args > 1 then
    return cli.usage_error(("help takes one command, got also %q"):format(args[2]))
  elseif word == nil or word == "--help" or word == "-h" then
    io.stdout:write(M.overview())
  elseif cli.is_word(word) then
    io.stdout:write(cli.command(word).help())
  else
    return cli.unknown_word(word)
  end
  return 0
end

return M
