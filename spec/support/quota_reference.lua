-- A naive reference of the quota tracker for its model test: what is alive, who holds how much,
-- what a call must answer. It has no caches and no index; it adds bytes up anew whenever it needs a
-- sum.
--
-- A world `w` holds accounts and participants. An account has its open objects in `handles`, a weak
-- object for ever, and links to its parents and children while it lives. A participant has its
-- open participations in `handles`, its object while somebody keeps it, and what it claimed.
local M = {}

M.CACHE = 16384 -- the most that one handle caches

---@param list table
---@param value any
function M.remove(list, value)
  for i, each in ipairs(list) do
    if rawequal(each, value) then return table.remove(list, i) end
  end
end

---@param message string
function M.fail(message, ...)
  error("model: " .. message:format(...), 0)
end

--- Whether an error is one that the model raises.
---@return boolean
function M.is_ours(message)
  return tostring(message):find("model:", 1, true) ~= nil
end

-- ---- sums -------------------------------------------------------------------------------------

--- The account and all above it ("parents") or below it ("children"), each once.
---@return table[] list, table<table, true> set
function M.reach(account, direction)
  local list, seen = { account }, { [account] = true }
  for _, each in ipairs(list) do -- it grows meanwhile
    for _, next_one in ipairs(each[direction]) do
      if not seen[next_one] then
        seen[next_one] = true
        list[#list + 1] = next_one
      end
    end
  end
  return list, seen
end

--- What the account's own participants claimed.
function M.own(account)
  local sum = 0
  for _, p in ipairs(account.participants) do
    if p.alive then sum = sum + p.used end
  end
  return sum
end

--- The same with all that is below it.
function M.tree(account)
  local sum = 0
  for _, each in ipairs((M.reach(account, "children"))) do
    sum = sum + M.own(each)
  end
  return sum
end

--- Whether n more bytes of the account pass no max.
function M.fits(account, n)
  for _, each in ipairs((M.reach(account, "parents"))) do
    if each.max and M.tree(each) + n > each.max then return false end
  end
  return true
end

--- Open participations in the account.
function M.open_handles(account)
  local n = 0
  for _, p in ipairs(account.participants) do
    if p.alive then n = n + #p.handles end
  end
  return n
end

--- Bytes, live accounts, live participants, open participations, condemned bytes.
function M.totals(w)
  local used, accounts, participants, handles, condemned = 0, 0, 0, 0, 0
  for _, a in ipairs(w.accounts) do
    if a.alive then accounts = accounts + 1 end
  end
  for _, p in ipairs(w.participants) do
    if p.alive then
      used, participants, handles = used + p.used, participants + 1, handles + #p.handles
    end
    condemned = condemned + (p.condemned or 0)
  end
  return used, accounts, participants, handles, condemned
end

-- ---- what a call must answer --------------------------------------------------------------------

--- The code of a claim of n by the participant, or nil if it must succeed.
function M.claim_code(p, n)
  if not p.account.alive then return "account_closed" end
  if not p.alive then return "participant_shutdown" end
  if not M.fits(p.account, n) then return "over_limit" end
end

--- The code of child:add_parent(parent), or nil.
function M.parent_code(child, parent)
  if not child.alive or not parent.alive then return "account_closed" end
  local _, below = M.reach(child, "children")
  if below[parent] then return "cycle" end
  for _, each in ipairs(child.parents) do
    if each == parent then return "duplicate_child" end
  end
  M.link(child, parent)
  local fits = M.fits(parent, 0)
  if not fits then M.unlink(child, parent) end
  return not fits and "over_limit" or nil
end

-- ---- changes ----------------------------------------------------------------------------------

function M.link(child, parent)
  table.insert(child.parents, parent)
  table.insert(parent.children, child)
end

function M.unlink(child, parent)
  M.remove(child.parents, parent)
  M.remove(parent.children, child)
end

--- The participant is over. If it collapsed its bytes are condemned as long as its object stands.
function M.end_participant(p, collapsed)
  if not p.alive then return end
  p.alive = false
  p.just_ended = true
  p.condemned = collapsed and p.object and p.used or nil
  p.used = 0
end

--- The account is over, its participants with it; what is below it lives on without it.
function M.end_account(a, collapsed)
  if not a.alive then return end
  a.alive = false
  for _, p in ipairs(a.participants) do
    M.end_participant(p, collapsed and not p.torn)
  end
  while a.parents[1] do
    M.unlink(a, a.parents[1])
  end
  while a.children[1] do
    a.children[1].orphan = true -- a pass that chose it while it lived may still take this one along
    M.unlink(a.children[1], a)
  end
end

return M
