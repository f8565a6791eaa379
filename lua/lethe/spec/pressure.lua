-- A ballast that puts a tracker under pressure: one participant that claims up to a pressure level,
-- or a number of bytes, and holds on until it is closed or a pass asks it to give back.
--
--   s:pressure{ tracker = t, level = "high" }     until t:pressure() says "soft" "high" "critical"
--   s:pressure{ tracker = t, level = 0.8 }        or until its number is reached; above 1 is legal
--   s:pressure{ account = a, bytes = "4M" }       or just so much; the tracker is the account's
--
-- Without `account` it opens one of its own, to which `priority` goes. `age` is what it tells a
-- pass: by default 2^53, younger than any clock time, so that "oldest" takes everyone else first.
-- `partial` makes it give back only the goal and stay; by default it collapses, as most things do.
-- `firm` reserves its own account up to the tracker's max, so that no ordinary pass chooses it.
-- A level is overshot by no more than one handle's cache.
local M = {}

M.OPTIONS = {
  "tracker", "account", "bytes", "level", "age", "name", "priority", "partial", "firm",
}

---@class lethe.spec.Pressure
---@field asked integer how often a pass asked it to give back
local Pressure = {}
Pressure.__index = Pressure
Pressure.__name = "lethe.spec.Pressure"

local YOUNGEST <const> = 2.0 ^ 53

local RANK <const> = { normal = 0, soft = 1, high = 2, critical = 3 }
local AIM <const> = { soft = 0, high = 0.5, critical = 1 }

local UNITS <const> = { [""] = 1, K = 2 ^ 10, M = 2 ^ 20, G = 2 ^ 30, T = 2 ^ 40 }

local function to_bytes(size)
  local bytes = math.tointeger(size)
  if type(size) == "string" then
    local number, unit = size:match("^%s*(%d+%.?%d*)%s*([KMGT]?)%s*$")
    bytes = number and math.tointeger(tonumber(number) * UNITS[unit] // 1)
  end
  if bytes == nil or bytes < 0 then
    error(("bad option bytes: a size is an integer or a string such as \"64K\", got %s"):format(
      tostring(size)), 4)
  end
  return bytes
end

local function check_aim(given)
  if (given.bytes == nil) == (given.level == nil) then
    error("pressure takes exactly one of the options bytes and level", 4)
  end
  local level = given.level
  if level ~= nil and type(level) ~= "number" and AIM[level] == nil then
    error(('bad option level: "soft", "high", "critical" or a number expected, got %s'):format(
      tostring(level)), 4)
  end
  if given.tracker == nil and given.account == nil then
    error("pressure needs the option tracker or account", 4)
  end
end

local function sound(value, message, code)
  if value == nil then
    error(("cannot put on pressure: %s [%s]"):format(tostring(message), tostring(code)), 0)
  end
  return value
end

---Bytes it holds now; the handle's cache is not counted.
---@return integer
function Pressure:held()
  return self._held
end

---Claims more.
---@param bytes integer
---@return lethe.spec.Pressure self
function Pressure:add(bytes)
  sound(self._participation:claim(bytes))
  self._held = self._held + bytes
  return self
end

---Gives back some of what it holds.
---@param bytes integer
---@return lethe.spec.Pressure self
function Pressure:ease(bytes)
  bytes = math.min(bytes, self._held)
  self._participation:release(bytes)
  self._held = self._held - bytes
  return self
end

-- How many bytes are missing, and whether they are still needed. A name is reached when the tracker
-- says it, a number when its bytes are there: the tracker's own number ends at 1.
local function missing(tracker, level)
  local stats = tracker:stats()
  local aim = type(level) == "number" and level or AIM[level]
  local target = math.ceil(stats.low_water + aim * (stats.max - stats.low_water))
  local bytes = target - tracker:used()
  if type(level) == "number" then
    return bytes, bytes > 0
  end
  local _, name = tracker:pressure()
  return bytes, RANK[name] < RANK[level]
end

-- The smallest step: a claim that the handle's cache answers does not show in the tracker.
local STEP <const> = 512

---Claims until the tracker's pressure is at least `level`.
---@param level string|number
---@return lethe.spec.Pressure self
function Pressure:raise(level)
  local bytes, needed = missing(self._tracker, level)
  while needed do
    self:add(math.max(bytes, STEP))
    bytes, needed = missing(self._tracker, level)
  end
  return self
end

-- What a pass sees of it.
local function participant(self, given)
  return {
    get_oldest = function()
      return given.age or YOUNGEST
    end,
    reclaim = function(_, request)
      self.asked = self.asked + 1
      if given.partial then
        self:ease(request.goal)
        return "partial"
      end
      self._held = 0
      return "collapsing"
    end,
  }
end

---Gives everything back.
---@return boolean true
function Pressure:close()
  if not self._closed then
    self._closed = true
    self._held = 0
    self._participation:destroy()
    if self._own_account then
      self._own_account:close()
    end
  end
  return true
end

Pressure.__close = Pressure.close

function Pressure:__tostring()
  return ("lethe.spec.Pressure (%d bytes%s)"):format(self._held, self._closed and ", closed" or "")
end

---@param given table
---@return lethe.spec.Pressure
function M.new(given)
  check_aim(given)
  local bytes = given.bytes and to_bytes(given.bytes)
  local tracker = given.tracker or given.account:tracker()
  local account, own = given.account, nil
  if account == nil then
    own = sound(tracker:account{
      name = given.name or "pressure",
      priority = given.priority,
      reserve = given.firm and tracker:stats().max or nil,
    })
    account = own
  end
  local self = setmetatable({ asked = 0, _held = 0, _tracker = tracker, _own_account = own },
    Pressure)
  self._participation = sound(account:participant(participant(self, given)))
  if bytes then
    return self:add(bytes)
  end
  return self:raise(given.level)
end

return M
