-- Messages: the input is a program that builds a value, in which tables may be shared and go in
-- circles, and in which there may be what cannot go. It comes out of a channel with the same shape,
-- or the error names a path that leads to what cannot go; the value itself stays as it was.
local worker = require "lethe.worker"

local channel <const> = worker.channel()

-- ---- building -----------------------------------------------------------------------------------

-- next(n) gives 0..n-1; next() whether the input is at its end.
local function reader(input)
  local at = 0
  return function(n)
    if not n then return at >= #input end
    at = at + 1
    return (input:byte(at) or 0) % n
  end
end

local SCALARS <const> = {
  function(next) return next(256) - 128 end,
  function(next) return (next(256) - 128) / 8 end,
  function(next) return next(2) == 1 end,
  function(next) return ("s"):rep(next(256)) end,
  function(next) return string.char(next(256), 0, next(256)) end,
  function() return math.mininteger end,
  function() return 1 / 0 end,
  function() return -0.0 end,
}
local FOREIGN <const> = { print, coroutine.create(print), io.stdout }

local function value(next, made)
  local kind = next(12)
  if kind < 5 then return SCALARS[next(#SCALARS) + 1](next) end
  if kind < 8 then
    made[#made + 1] = {}
    return made[#made]
  end
  if kind < 11 and made[1] then return made[next(#made) + 1] end
  return next(16) == 0 and FOREIGN[next(#FOREIGN) + 1] or nil
end

local function key(next, made)
  if next(3) == 0 then return next(8) + 1 end
  if next(16) == 0 then return value(next, made) end
  return SCALARS[next(6) + 1](next)
end

local function build(input)
  local next, made = reader(input), {}
  local root = value(next, made)
  while made[1] and not next() do
    local t, k = made[next(#made) + 1], key(next, made)
    if k ~= nil then t[k] = value(next, made) end
  end
  return root
end

-- ---- comparing ----------------------------------------------------------------------------------

local function same_scalar(a, b)
  return math.type(a) == math.type(b) and a == b and (a ~= 0 or 1 / a == 1 / b)
end

-- Whether two values have one shape: tables of one stand for tables of the other, one to one.
local function same(a, b)
  local twin, back, todo = {}, {}, {}
  local function meet(x, y)
    if type(x) ~= "table" or type(y) ~= "table" then return same_scalar(x, y) end
    if twin[x] or back[y] then return twin[x] == y and back[y] == x end
    twin[x], back[y] = y, x
    todo[#todo + 1] = { x, y }
    return true
  end
  if not meet(a, b) then return false end
  while todo[1] do
    local x, y = table.unpack(table.remove(todo))
    for k, v in pairs(x) do
      if not meet(v, y[k]) then return false end
    end
    for k in pairs(y) do
      if x[k] == nil then return false end
    end
  end
  return true
end

-- Whether it may go: everything that is reached has a kind that goes, keys more narrowly.
local function may_go(root)
  local seen, todo = {}, { root }
  local function known(v)
    local kind = type(v)
    if kind == "table" and not seen[v] then
      seen[v] = true
      todo[#todo + 1] = v
    end
    return kind == "table" or kind == "number" or kind == "string" or kind == "boolean"
  end
  if root ~= nil and not known(root) then return false end
  while todo[1] do
    local t = table.remove(todo)
    for k, v in pairs(type(t) == "table" and t or {}) do
      if type(k) == "table" or not known(k) or not known(v) then return false end
    end
  end
  return true
end

-- What the path of an error leads to; nothing if some step is no name and no whole number.
local function follow(v, path)
  while path ~= "" do
    local name, rest = path:match("^%.([%a_][%w_]*)(.*)$")
    local index, others = path:match("^%[(%-?%d+)%](.*)$")
    if not (name or index) then return nil end
    v, path = v[name or math.tointeger(index)], rest or others
  end
  return v
end

return function(input)
  local root = build(input)
  local ok, message = pcall(channel.send, channel, root)
  assert(ok == may_go(root), message)
  if ok then
    assert(same(root, channel:recv()), "another value came out")
  else
    local of_a_key, path, kind = message:match("^(.-)message(.*) is a (%a+)$")
    assert(path and (of_a_key == "" or of_a_key == "a key of "), message)
    local found = follow(root, path)
    assert(found == nil or type(found) == (of_a_key == "" and kind or "table"), message)
  end
end
