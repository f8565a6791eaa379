-- Participants for specs of the quota tracker.
local chance = require "spec.support.chance"

local M = {}

---An object with an age that the spec may change and a log of how it was asked. What it answers to
---`reclaim` is a word, or comes from a function (self, request).
---@param age number?
---@param answer string|function|nil
function M.object(age, answer)
  local o = { age = age, asked = 0, requests = {} }
  function o:get_oldest()
    self.asked = self.asked + 1
    return self.age
  end
  function o:reclaim(request)
    self.requests[#self.requests + 1] = request
    if type(answer) == "function" then return answer(self, request) end
    return answer
  end
  return o
end

-- What holder made lives as long as its tracker, whatever the collector does.
local kept = setmetatable({}, { __mode = "k" })

---So many, times LETHE_WORK: a restless collector does less.
---@param n integer
---@return integer
function M.work(n)
  return math.max(100, math.floor(n * chance.WORK))
end

---An account with one participant that holds `bytes`.
---@param tracker lethe.quota.Tracker
---@param given { age: number?, bytes: integer|string|nil, answer: any, name: string? }
---@return table holder { account, object, participation, id }
function M.holder(tracker, given)
  local account = assert(tracker:account{
    name = given.name,
    max = given.max,
    reserve = given.reserve,
    priority = given.priority,
    parent = given.parent,
  })
  local object = M.object(given.age, given.answer)
  local participation = assert(account:participant(object))
  object.participation = participation
  if given.bytes then assert(participation:claim(given.bytes)) end
  local holder = {
    account = account,
    object = object,
    participation = participation,
    id = account:id(),
  }
  kept[tracker] = kept[tracker] or {}
  table.insert(kept[tracker], holder)
  return holder
end

---How often each holder was asked to give memory back.
---@return integer[]
function M.asked(...)
  local list = {}
  for i, holder in ipairs{ ... } do
    list[i] = #holder.object.requests
  end
  return list
end

---A metered queue on the scenario's loop, whose items cost their length unless `options` says more.
---@param s lethe.spec.Scenario
---@param options table? of quota.queue; `max` is its account's
---@return table tx, table rx, lethe.quota.Tracker tracker, lethe.quota.Account account
function M.queue(s, options)
  options = options or {}
  local tracker = s:quota{ max = "8M" }
  options.account = s:own(tracker:account{ name = "queue", max = options.max })
  options.max = nil
  options.loop = s.loop
  options.cost = options.cost or function(value) return #value end
  local tx, rx = assert(require("lethe.quota").queue(options))
  return tx, rx, tracker, options.account
end

---Gives back what the request wants, and stays, ageless once it has nothing left.
function M.partial(self, request)
  self.participation:release(math.min(request.goal, self.participation:used()))
  if self.participation:used() == 0 then self.age = nil end
  return "partial"
end

---The `field` of each row.
---@param rows table[]
---@param field string
---@return any[]
function M.column(rows, field)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = row[field]
  end
  return list
end

return M
