-- The c-list of one vat: which of the kernel's names (ko3, kp7) stands for which of the vat's own
-- (o-1, p+5), and how far the vat still holds it.
--
-- An entry of an object is *reachable*, or only *recognizable*: a vat that has dropped an import
-- may still recognize it, and an export that was dropped keeps its name until it is retired. An
-- entry of a promise has no such states; it says whether the vat decides it. Entries change by the
-- rules R70 of lethe.vat.checker; this file keeps them, and keeps both directions in step.

local order = require "lethe.vat.order"
local parse = require("lethe.vat.vref").parse

local M = {}

---@class lethe.vat.Entry
---@field kref string
---@field vref string
---@field kind "o"|"p"
---@field mine boolean allocated by the vat: an export, if it is an object
---@field reachable boolean
---@field decides boolean of a promise: the vat is to settle it

---@class lethe.vat.CList
---@field by_kref table<string, lethe.vat.Entry>
---@field by_vref table<string, lethe.vat.Entry>
local CList = {}
CList.__index = CList

---@return lethe.vat.CList
function M.new()
  return setmetatable({ by_kref = {}, by_vref = {}, next = { o = 1, p = 1 } }, CList)
end

local function add(self, kref, vref, kind, mine, decides)
  local entry = {
    kref = kref, vref = vref, kind = kind, mine = mine, reachable = true, decides = decides,
  }
  self.by_kref[kref] = entry
  self.by_vref[vref] = entry
  return entry
end

--- A name that the vat allocated: an object of its own, or a promise that it decides.
---@param vref string
---@param kref string
---@return lethe.vat.Entry
function CList:export(vref, kref)
  local kind = parse(vref)
  return add(self, kref, vref, kind, true, kind == "p")
end

--- A name for what comes from elsewhere.
---@param kref string
---@return lethe.vat.Entry
function CList:import(kref)
  local kind = kref:sub(2, 2)
  local n = self.next[kind]
  self.next[kind] = n + 1
  return add(self, kref, ("%s-%d"):format(kind, n), kind, false, false)
end

--- The same where the name was given by a kernel of the past; the entry's kref is that name.
---@param vref string
---@return lethe.vat.Entry
function CList:adopt(vref)
  local kind = parse(vref)
  local n = tonumber(vref:match("%d+$"))
  if self.next[kind] then self.next[kind] = math.max(self.next[kind], n + 1) end
  return add(self, vref, vref, kind, false, false)
end

---@param entry lethe.vat.Entry
function CList:remove(entry)
  self.by_kref[entry.kref] = nil
  self.by_vref[entry.vref] = nil
end

--- All entries, oldest kernel name first.
---@return lethe.vat.Entry[]
function CList:entries()
  local list = {}
  for _, entry in pairs(self.by_kref) do
    list[#list + 1] = entry
  end
  table.sort(list, function(a, b) return order.older(a.kref, b.kref) end)
  return list
end

--- The same for people to look at.
---@return { kref: string, vref: string, reachable: boolean, recognizable: boolean }[]
function CList:rows()
  local rows = self:entries()
  for i, entry in ipairs(rows) do
    rows[i] = {
      kref = entry.kref, vref = entry.vref, reachable = entry.reachable, recognizable = true,
    }
  end
  return rows
end

return M
