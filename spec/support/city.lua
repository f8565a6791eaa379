-- A tracker with tenants, for specs of policies: who goes first.
local M = {}

local MIB <const> = 1 << 20
M.ALL = 1 << 40

-- One participant: what its account is called and holds, how old it is, what it answers.
function M.tenant(s, tracker, t)
  local account = assert(tracker:account{
    name = t.name, parent = t.parent, max = t.max, reserve = t.reserve, priority = t.priority,
  })
  local obj = { asked = 0, account = account }
  function obj.get_oldest() return t.age end
  function obj:reclaim(request)
    self.asked = self.asked + 1
    self.request = request
    if t.partial then
      self.participation:release(math.min(t.partial, self.participation:used()))
      return "partial"
    end
    return "collapsing"
  end
  obj.participation = assert(account:participant(obj))
  assert(obj.participation:claim(t.bytes))
  s:own(account)
  s.kept = { obj, s.kept } -- nobody is to be collected in the midst of a test
  return obj
end

-- A tracker under `policy` with these tenants, by name. Nothing is over max.
function M.new(s, policy, list, options)
  options = options or {}
  local tracker = assert(s:quota{ max = options.max or 64 * MIB, low_water = options.low_water })
  if policy then assert(tracker:configure{ policy = policy }) end
  local tenants = {}
  for _, t in ipairs(list) do
    tenants[t.name] = M.tenant(s, tracker, t)
  end
  return tracker, tenants
end

-- The names of the rows' accounts.
function M.names(tracker, list)
  local of = {}
  for _, row in tracker:accounts() do
    of[row.account] = row.name
  end
  local result = {}
  for _, row in ipairs(list) do
    result[#result + 1] = of[row.account]
  end
  return result
end

-- The names in the order in which everything would go.
function M.plan(tracker)
  return M.names(tracker, tracker:plan(M.ALL))
end

-- Who was asked, in order.
function M.victims(s)
  local result = {}
  for _, event in ipairs(s:events("victim")) do
    result[#result + 1] = event.name
  end
  return result
end

-- Frees n bytes by hand, in a task, so that victims may take their time; whole MiB that were freed
-- (the unspent caches count too).
function M.reclaim(s, tracker, n)
  local task = s.loop:spawn(function() return tracker:reclaim(n) end)
  s:advance(60)
  return task:join() // MIB
end

-- Takes everything: the order in which a real pass does.
function M.reclaim_all(s, tracker)
  M.reclaim(s, tracker, M.ALL)
  return M.victims(s)
end

M.THREE = {
  { name = "a", bytes = 3 * MIB, age = 30 },
  { name = "b", bytes = 1 * MIB, age = 10 },
  { name = "c", bytes = 2 * MIB, age = 20 },
}

-- What a broken policy falls back to.
M.OLDEST = { "b", "c", "a" }

return M
