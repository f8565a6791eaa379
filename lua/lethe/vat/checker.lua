-- What a vat may ask for, and what follows for its c-list: the rules R70 and R28.
--
-- A checker looks at the syscalls of one crank as they come. It knows what the vat knew when the
-- crank began, its c-list, and what the calls before in this crank changed; a call that is out of
-- order is refused with a message, and nothing of the crank will leave. So it changes no c-list: it
-- keeps notes, name by name, and forgets them when the crank is over.
--
-- Objects: an import is reachable from its delivery on; dropImports needs that and leaves it
-- recognizable; retireImports needs a dropped one and ends it. An export is reachable again
-- whenever it leaves; only after dispatch.dropExports may the vat retire it. Promises: a vat
-- settles, once, what it decides: what it made itself, and the results of what was sent to it,
-- until it passes them on. Drops and retirements belong into bringOutYourDead alone (R60).

local parse = require("lethe.vat.vref").parse

local M = {}

---@class lethe.vat.Checker
local Checker = {}
Checker.__index = Checker

local COLLECTION <const> = { dropImports = true, retireImports = true, retireExports = true }

--- For one crank of the vat that has this c-list.
---@param clist lethe.vat.CList
---@param may_drop boolean the crank is a bringOutYourDead
---@return lethe.vat.Checker
function M.new(clist, may_drop)
  return setmetatable({ clist = clist, may_drop = may_drop, notes = {} }, Checker)
end

-- What is known of a name at this point of the crank; `known` is false for what is in no c-list.
local function look(self, vref)
  local note = self.notes[vref]
  if note then return note end
  local entry = self.clist.by_vref[vref]
  note = {
    known = entry ~= nil,
    reachable = entry ~= nil and entry.reachable,
    decides = entry ~= nil and entry.decides,
  }
  self.notes[vref] = note
  return note
end

-- The name of something that goes out, as a target or an argument. What the vat itself allocated
-- becomes known by it.
local function mention(self, vref)
  local kind, mine = parse(vref)
  if not kind then return ("%q is no name of an object"):format(vref) end
  local note = look(self, vref)
  if kind == "d" then return ("there is no device %s"):format(vref) end
  if not mine then
    if not note.known then return ("%s is not known to the vat"):format(vref) end
    if not note.reachable then return ("the vat has dropped %s"):format(vref) end
  elseif kind == "p" and not note.known then
    note.decides = true
  end
  note.known, note.reachable = true, true
end

local function mention_all(self, slots)
  for _, vref in ipairs(slots) do
    local message = mention(self, vref)
    if message then return message end
  end
end

local check = {}

-- The result must be the vat's to decide; from now on whoever gets the message decides it.
local function pass_on(self, vpid)
  if parse(vpid) ~= "p" then return ("%q is no name of a promise"):format(vpid) end
  local message = mention(self, vpid)
  if message then return message end
  local note = look(self, vpid)
  if not note.decides then return ("the vat does not decide %s"):format(vpid) end
  note.decides = false
end

function check:send(target, _, args, result)
  local message = mention(self, target) or mention_all(self, args.slots)
  if message then return message end
  return result and pass_on(self, result)
end

function check:subscribe(vpid)
  if parse(vpid) ~= "p" then return ("%q is no name of a promise"):format(vpid) end
  if not look(self, vpid).known then return ("%s is not known to the vat"):format(vpid) end
end

-- Whatever the batch mentions is known before any of it is settled: its promises may hold each
-- other.
function check:resolve(resolutions)
  local settled = {}
  for _, resolution in ipairs(resolutions) do
    local message = mention_all(self, resolution[3].slots)
    if message then return message end
  end
  for _, resolution in ipairs(resolutions) do
    local vpid = resolution[1]
    if parse(vpid) ~= "p" then return ("%q is no name of a promise"):format(vpid) end
    if settled[vpid] then return ("%s is settled twice"):format(vpid) end
    local note = look(self, vpid)
    if not note.known then return ("%s is not known to the vat"):format(vpid) end
    if not note.decides then return ("the vat does not decide %s"):format(vpid) end
    settled[vpid] = note
  end
  for _, note in pairs(settled) do
    note.known, note.reachable, note.decides = false, false, false
  end
end

-- An object of this kind that is in the c-list.
local function object(self, vref, mine, what)
  local kind, is_mine = parse(vref)
  if kind ~= "o" or is_mine ~= mine then return nil, ("%q is no %s"):format(vref, what) end
  local note = look(self, vref)
  if not note.known then return nil, ("%s is not known to the vat"):format(vref) end
  return note
end

function check:dropImports(vrefs)
  for _, vref in ipairs(vrefs) do
    local note, message = object(self, vref, false, "import")
    if not note then return message end
    if not note.reachable then return ("the vat has dropped %s before"):format(vref) end
    note.reachable = false
  end
end

function check:retireImports(vrefs)
  for _, vref in ipairs(vrefs) do
    local note, message = object(self, vref, false, "import")
    if not note then return message end
    if note.reachable then return ("the vat has not dropped %s"):format(vref) end
    note.known = false
  end
end

function check:retireExports(vrefs)
  for _, vref in ipairs(vrefs) do
    local note, message = object(self, vref, true, "export")
    if not note then return message end
    if note.reachable then return ("%s is still reachable from elsewhere"):format(vref) end
    note.known = false
  end
end

--- Looks at the crank's next call: nil if it is in order, else what is wrong with it.
---@param call table
---@return string? message
function Checker:check(call)
  local name = call[1]
  if COLLECTION[name] and not self.may_drop then
    return name .. ": only in bringOutYourDead"
  end
  local message = check[name](self, table.unpack(call, 2, 5))
  return message and ("%s: %s"):format(name, message)
end

return M
