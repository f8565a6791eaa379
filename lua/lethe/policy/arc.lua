-- arc, the adaptive replacement cache (Megiddo and Modha, FAST 2003): T1 holds what was asked for
-- once, T2 what was asked for again, B1 and B2 the keys of what left them. A miss that B1 knows
-- says that T1 should have been larger, one that B2 knows the opposite: p is the share that T1 is
-- to have.
local B1 <const>, B2 <const> = 1, 2

-- The paper's REPLACE.
local function replace(c, found)
  local first <const>, second <const>, n <const> = c.t1:back(), c.t2:back(), c.t1:used()
  if not second or first and (n > c.p or found == B2 and n == c.p) then
    c.b1:add(first)
    return first
  end
  c.b2:add(second)
  return second
end

return {
  name = "arc",
  init = function(c)
    c.t1, c.t2, c.p = c:queue("t1"), c:queue("t2"), 0
    c.b1, c.b2 = c:ghost("b1", math.huge), c:ghost("b2", math.huge)
  end,
  admit = function(c, size)
    local found
    local n1 <const>, n2 <const> = c.b1:used(), c.b2:used()
    if c.b1:remove() then
      found, c.p = B1, math.min(c.p + math.max(n2 / n1, 1), c:limit())
    elseif c.b2:remove() then
      found, c.p = B2, math.max(c.p - math.max(n1 / n2, 1), 0)
    end
    return size <= c:limit(), found
  end,
  on_insert = function(c, h)
    if c:found() then c.t2:push_front(h) else c.t1:push_front(h) end
  end,
  on_hit = function(c, h)
    c.t2:push_front(h)
  end,
  -- A key that nothing is known of costs some history: T1 and B1 hold the limit at most, all twice
  -- that.
  on_evict = function(c)
    local found <const>, size <const>, limit <const> = c:found(), c:size(), c:limit()
    if found or not size then return replace(c, found) end
    local l1 <const> = c.t1:used() + c.b1:used()
    if l1 + size > limit then
      local first <const> = c.t1:back()
      if c.b1:len() > 0 then c.b1:drop() elseif first then return first end
    elseif l1 + c.t2:used() + c.b2:used() >= 2 * limit then
      c.b2:drop()
    end
    return replace(c)
  end,
  export = function(c)
    return { name = "arc", p = c.p }
  end,
  import = function(c, t)
    if t.name == "arc" then c.p = math.min(t.p, c:limit()) end
  end,
}
