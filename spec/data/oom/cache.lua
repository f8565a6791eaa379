-- Caches under want of memory: what was accepted is in the cache or written, every wait ends, and all
-- of it can be closed.
local cache = require "lethe.cache"
local lethe = require "lethe"
local quota = require "lethe.quota"
local loop = lethe.loop.new{ clock = "virtual" }
require "lethe.cache.account"
begin()

local KEYS <const> = { "a", "b", "c", "d", "e", 1, 2, 3 }

local stored, accepted, dropped = {}, {}, {}
for _, k in ipairs(KEYS) do -- what is noted in them later allocates nothing
  stored[k], accepted[k], dropped[k] = false, false, false
end
stored.a, stored.b, stored[1] = "A", "B", "one"

local backend = {}

function backend:load(key)
  loop:sleep(0.001)
  return stored[key] or nil
end

function backend:flush(key, value)
  stored[key] = value
end

function backend:barrier() end

function backend:evict() end

local pages, counts, tracker

-- What a call answers to want of memory is as good as an error.
local function got(value, message, code)
  if value == nil and code == "no_memory" then error(message, 0) end
  return value
end

local function insert(c, key, value)
  dropped[key] = true -- until it is known
  if got(c:insert(key, value)) then accepted[key] = value end
  dropped[key] = false
end

local function work()
  tracker = assert(quota.new{ max = "1M", loop = loop })
  local account = got(tracker:account{ name = "pages" })
  pages = got(cache.new{ backend = backend, limit = 3, loop = loop, account = account,
    weigh = function() return 100 end })
  counts = got(cache.new{ backend = backend, limit = 2, loop = loop, error_ttl = 1, idle = 5,
    policy = "s3fifo", name = "counts" })
  if not pages or not counts then return end
  pages:on_evict(function(k) return k end)
  local task = loop:spawn(function()
    got(pages:get("a"))
    got(pages:get("x"))
    got(pages:get_many{ "a", "b", 1, "y" })
    insert(pages, "c", "C")
    insert(pages, "d", "D")
    insert(counts, 2, "two")
    got(pages:depend_on(counts))
    local hold <close> = got(pages:hold("b"))
    if hold then
      dropped.b = true
      if hold:set("changed") then accepted.b = "changed" end
      dropped.b = false
      hold:mark_dirty()
    end
    got(pages:flush())
    insert(pages, "e", "E")
    got(counts:depend_on(pages))
    got(tracker:reclaim(100))
    pages:resize{ limit = 2 }
    pages:remove("a")
    assert(pages:stats().in_use == (hold and 1 or 0))
    return pages:len() + pages:size()
  end)
  loop:advance(20)
  local ok, message = task:join()
  if not ok then error(message, 0) end
end

local function shut(c)
  if not c then return end
  local task = loop:spawn(function() return c:shutdown() end)
  loop:advance(60)
  assert(task:join(), "it could not be shut down")
end

local function check()
  loop:advance(20)
  lethe.registry.default():collect()
  loop:advance(1)
  if pages and counts then
    shut(pages)
    shut(counts)
    for _, k in ipairs(KEYS) do
      assert(not accepted[k] or dropped[k] or stored[k] == accepted[k],
        ("%s is lost: %s, should be %s"):format(k, stored[k], accepted[k]))
    end
  end
  if tracker then
    assert(tracker:check())
    tracker:close()
  end
  loop:close()
end

return work, check
