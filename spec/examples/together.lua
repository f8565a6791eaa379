-- All engines in one program: tenants in threads of their own read a real file through caches,
-- under one budget with a policy of ours, and share an index; a vat tracks who holds what.
--
--   build/lethe spec/examples/together.lua [PAGE.html [REQUESTS]]
--
-- The file is a block-I/O trace. Each tenant reads the trace's own requests as block numbers of
-- that file; what it has read it counts in the shared index, and in two tables of its own on disk,
-- of which the second may never be ahead of the first. For each block that it keeps it holds a
-- lease of the ledger, an object in a vat (lib/ledger.lua). At the end everything is checked, the
-- ledger's transcript is replayed, and the memory's course is drawn into the page.
package.path = "./?.lua;" .. package.path
local lethe = require "lethe"
local together = require "spec.examples.lib.together"

local TENANTS <const> = 3
local requests = tonumber(arg[2]) or 2000
local page = arg[1] or "build/together.html"
local path = "../shared/data/cloudPhysicsIO.oracleGeneral.bin"
if not io.open(path) then path = "spec/data/sqlite.oracleGeneral.bin" end
local file <close> = assert(io.open(path))
local MAX <const> = math.min(2 << 20, file:seek("end")) -- less than the tenants will want to keep

-- ---- one budget, one index, one ledger ----------------------------------------------------------

local course = together.course(MAX)
local tracker = assert(lethe.quota.new{
  max = MAX, low_water = MAX // 2, policy = "spec/examples/lib/big_and_idle.lua",
  on_event = function(event) course:event(event) end,
})
local sampling = lethe.loop.default():timer(0.002, function() course:sample(tracker:used()) end,
  { every = true })
local index = assert(lethe.shared.map{ epoch = lethe.epoch.new{} })
local said, has_read, leave = lethe.worker.channel(), lethe.worker.channel(), lethe.worker.channel()
local ledger = lethe.worker.spawn({ module = "spec.examples.lib.ledger" }, said, TENANTS)

-- ---- the tenants --------------------------------------------------------------------------------

local scratch, workers, results = os.tmpname(), {}, {}
for n = 1, TENANTS do
  workers[n] = lethe.worker.spawn({ module = "spec.examples.lib.tenant" }, {
    number = n, path = path, scratch = scratch .. n, index = index, said = said,
    account = tracker:account{ name = "tenant " .. n }, requests = requests,
    has_read = has_read, leave = leave,
  })
end
for _ = 1, TENANTS do assert(has_read:recv()) end
for _ = 1, 500 do -- until the pass that may be running has ended
  if tracker:used() <= MAX then break end
  lethe.loop.default():sleep(0.01)
end
local used_by_all = tracker:used()
leave:close()
for n, worker in ipairs(workers) do results[n] = assert(worker:join()) end
sampling:close()
said:close()
local leases = assert(ledger:join())

-- ---- what must hold -----------------------------------------------------------------------------

local checks = together.checks(scratch, results, index)
local function check(what, whether) checks[#checks + 1] = { what, whether } end
check("passes kept the budget", tracker:stats().freed > 0 and used_by_all <= MAX)
check("the memory came back", tracker:used() == 0)
check("the tracker's sums add up", tracker:check() == true)
for n = 1, TENANTS do
  check(("tenant %d holds a lease for each of its blocks: %d"):format(n, leases.kept[n]),
    leases.live[n] == leases.kept[n])
end
check("the kernel's counts agree", leases.agrees)
check(("%d cranks replay identically"):format(leases.cranks), leases.replays)
os.exit(together.report(course, page, tracker, results, checks), true)
