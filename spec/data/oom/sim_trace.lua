-- Traces, replays, reports and recorders under want of memory: a result is right, or a row says that
-- memory was short; whatever was open is closed.
local cache = require "lethe.cache"
local sim = require "lethe.sim"
require "lethe.sim.csv"
require "lethe.sim.report"

local PATH <const> = os.tmpname()
local function score(freq) return freq end
local mine <const> = { score = score }
local backend <const> = { load = function(_, key) return key end }
local pages = assert(cache.new{ limit = 3, backend = backend })
assert(#("x"):rep(5000) == 5000) -- the metatable of Lua's buffers, which it can leave half made
begin()

-- What a call answers to want of memory is as good as an error.
local function got(value, message, code)
  if value == nil and (code == "no_memory" or message == "not enough memory") then
    error(message, 0)
  end
  assert(value, message)
  return value
end

local function runs(trace)
  local rows <const> = got(sim.run{ trace = trace, policies = { "lru", mine }, sizes = { 3 },
    unit = true, jobs = 1 })
  for _, row in ipairs(rows) do
    if row.failed then
      assert(row.failed:find("not enough memory", 1, true), row.failed)
    else
      assert(row.misses == 40)
    end
  end
  assert(got(sim.csv(rows, PATH)))
  assert(got(sim.report(rows, PATH)))
end

local trace, recorder

local function play()
  trace = got(sim.synthetic{ kind = "loop", objects = 5, requests = 40 })
  runs(trace)
  assert(got(trace:save(PATH)))
  trace:close()
  recorder = got(sim.recorder(pages, PATH))
  for key = 1, 5 do
    if not pages:get(key) then error("not enough memory", 0) end -- its load found none
  end
  assert(got(recorder:close()))
  trace = got(sim.open(PATH))
  local n = 0
  for _ in trace:requests() do
    n = n + 1
  end
  assert(n == 5)
  assert(trace:close())
end

return play, function()
  if trace then trace:close() end
  if recorder then recorder:close() end
  os.remove(PATH)
  play()
  pages:close()
  os.remove(PATH)
end
