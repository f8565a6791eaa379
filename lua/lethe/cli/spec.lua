-- `lethe spec`: runs spec files.
local options = require "lethe.cli.options"
local term = require "lethe.cli.term"

local M = {}

M.summary = "run busted-style specs"

local function pattern(text)
  if pcall(string.find, "", text) then
    return text
  end
  return nil, "a Lua pattern"
end

local OPTIONS <const> = {
  { name = "output", short = "o", value = "FORMAT", read = options.one_of("plain", "tap", "junit"),
    help = "plain (the default), tap or junit, on standard output" },
  { name = "filter", value = "PATTERN", read = pattern, many = true,
    help = "only tests whose full name matches this Lua pattern" },
  { name = "filter-out", value = "PATTERN", read = pattern, many = true,
    help = "no blocks and tests whose full name matches" },
  { name = "tags", short = "t", value = "TAG", many = true,
    help = "only tests with #TAG in their full name" },
  { name = "exclude-tags", value = "TAG", many = true,
    help = "no blocks and tests with #TAG in their name" },
  { name = "pattern", short = "p", value = "PATTERN", read = pattern,
    help = "which files of a directory are specs (_spec%.lua$)" },
  { name = "seed", value = "N", read = options.integer,
    help = "the seed of every test; also read from SEED" },
  { name = "shuffle", help = "files, blocks and tests in an order drawn from the seed" },
  { name = "verbose", short = "v", help = "a line for every test" },
  { name = "help", short = "h", help = "this text" },
}

---@return string
function M.help()
  return "usage: lethe spec [options] [files and directories]\n\n"
    .. "Runs the specs in files, and in what directories hold (by default in spec/). The last\n"
    .. "line says how many passed, failed and were skipped; the exit code is 0 when some ran and\n"
    .. "none failed, else 1.\n\n" .. options.describe(OPTIONS)
end

local function report_options(given)
  if given.output == "tap" or given.output == "junit" then
    return { out = term.take_stdout() }
  end
  return {
    out = io.stdout,
    verbose = given.verbose,
    colour = term.is_rich(io.stdout),
    progress = term.is_rich(io.stderr) and term.is_rich(io.stdout) and io.stderr or nil,
  }
end

---@param args string[]
---@return integer exit code
function M.main(args)
  local given, rest = options.parse(args, OPTIONS)
  if given == nil then
    return require("lethe.cli").usage_error(rest .. "; see lethe spec --help")
  elseif given.help then
    io.stdout:write(M.help())
    return 0
  end
  local complete = report_options(given)
  for name, value in pairs(given) do
    complete[name] = value
  end
  complete.paths = rest[1] and rest or nil
  complete.clock = term.clock
  return require("lethe.spec").run(complete) and 0 or 1
end

return M
