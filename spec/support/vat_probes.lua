-- Twelve ways in which a vat's code might learn what the collector did, when its state was seeded,
-- or where things lie in memory. Each is source that returns a text; `p` is a presence that comes,
-- is let go of and comes again, `round` counts. What they say must be the same in every run.
local M = {}

---{ name, source }
M.list = {
  { "weak tables", [[
    weak = weak or setmetatable({}, { __mode = "kv" })
    local mt = getmetatable(weak)
    late = late or setmetatable({}, {})
    getmetatable(late).__mode = "v"
    weak[round], late[round], weak[{}] = {}, {}, {}
    for i = 1, 2000 do local t = { i } end
    local n = 0
    for i = 1, round do n = n + (weak[i] and 1 or 0) + (late[i] and 1 or 0) end
    return n .. mt.__mode]] },
  { "finalizers", [[
    log = log or {}
    for i = 1, 50 do
      local mt = { __gc = function() log[#log + 1] = i end, __close = function() end }
      setmetatable({}, mt)
      local other = {}
      setmetatable({}, other)
      other.__gc = mt.__gc
    end
    for i = 1, 2000 do local t = { i } end
    return tostring(rawlen(log))]] },
  { "addresses", [[
    local words = {}
    local values = { {}, print, p, coroutine.create(print), (promise()), function() end, E(p) }
    for i, x in ipairs(values) do
      words[i] = tostring(x) .. ("%s %p"):format(x, x)
    end
    return table.concat(words, ","):gsub("%d+", function(d) return (d) end)]] },
  { "the order of keys", [[
    objects = objects or {}
    objects[#objects + 1] = far{}
    local t = { [p] = 1, [far{}] = 2, [root] = 3, [1.5] = 4, [true] = 5 }
    for i, x in ipairs(objects) do t[x] = -i end
    for i = 1, 40 do t["key" .. (i * 7919) % 1000] = i end
    for i = 1, 40, 3 do t["key" .. (i * 7919) % 1000] = nil end
    local words = {}
    for k, value in pairs(t) do words[#words + 1] = tostring(value) end
    for k, value in next, t do words[#words + 1] = tostring(value) end
    return table.concat(words, " ")]] },
  { "weak collections", [[
    map, set = map or weak_map(), set or weak_set()
    local words = { tostring(map:get(p)), tostring(map:has(p)), tostring(set:has(p)) }
    map:set(p, round)
    if round % 2 == 1 then set:add(p) else words[4] = tostring(set:delete(p)) end
    local short = weak_map()
    short:set(p, {})
    short:set({}, p)
    return table.concat(words, " ")]] },
  { "stamps on presences", [[
    local words = {}
    for i, fn in ipairs{ rawset, rawget, setmetatable, function(x) x.y = 1 end,
      function(x) return x.y end, far, table.insert, rawlen, next, pairs,
      function(x) return #x end } do
      local ok, message = pcall(fn, p, {}, 1)
      words[i] = tostring(ok) .. tostring(message)
    end
    seen = seen or {}
    seen[tostring(p)] = (seen[tostring(p)] or 0) + 1
    return table.concat(words, "\n") .. tostring(getmetatable(p)) .. seen[tostring(p)]
      .. tostring(p == p) .. tostring(rawequal(p, p))]] },
  { "borders of lists", [[
    local t = {}
    for i = 1, 64 do t[i], t["x" .. i] = i, i end
    for i = 1, 64, 1 do t["x" .. i] = nil end
    for i = 20, 60, 7 do t[i] = nil end
    table.insert(t, "end")
    local at = 0
    for i = 1, 70 do if t[i] == "end" then at = at * 100 + i end end
    return at .. " " .. rawlen(t) .. " " .. select("#", table.unpack(t))
      .. tostring(table.remove(t))]] },
  { "how a sort compares", [[
    local t, n, trail = {}, 0, 0
    for i = 1, 200 do t[i] = (i * i) % 17 end
    table.sort(t, function(a, b)
      n = n + 1
      trail = (trail * 31 + a * 17 + b) % 1000003
      return a < b
    end)
    return n .. " " .. trail]] },
  { "how deep a stack may be", [[
    local function lua(n) local ok, m = pcall(function() return 1 + lua(n + 1) end) return m end
    local deep = 0
    local function c(n) deep = n coroutine.wrap(c)(n + 1) end
    local _, message = pcall(c, 1)
    local first = deep
    local function d(n)
      deep = n
      return setmetatable({}, { __index = function() return d(n + 1) end }).x
    end
    local _, other = pcall(d, 1)
    local function e(n) deep = n pcall(e, n + 1) return n end
    e(1)
    return first .. message .. other .. deep]] },
  { "names in messages", [[
    local words = {}
    local f, t = string.rep, { m = string.rep, n = math.floor, o = setmetatable, next = next }
    for i, fn in ipairs{
      function() string.rep() end, function() f() end, function() t.m() end,
      function() t:n() end,
      function() ("x"):rep({}) end, function() t.o(1) end, function() t.next() end,
      function() local y <const> = nil + 1 end, function() undefined.x = 1 end,
      function() string.gsub("x", "x", t.n) end, function() table.sort({ 1, "x" }) end,
      function() return math.floor({}) end, function() coroutine.wrap(string.rep)() end,
      function() load("x =")() end, function() error() end, function() select(-9) end,
      function() tostring() end, function() rawset(1) end, function() ipairs() end,
    } do
      words[i] = tostring(select(2, pcall(fn)))
    end
    words[#words + 1] = tostring(select(2, pcall(string.rep)))
    words[#words + 1] = tostring(select(2, pcall(rawset)))
    words[#words + 1] = tostring(select(2, pcall(next)))
    return table.concat(words, "\n")]] },
  { "coroutines that are let go of", [[
    state = state or {}
    local co, main = coroutine.running()
    for i = 1, 20 do
      local x = coroutine.create(function()
        local close <close> = setmetatable({}, { __close = function() state[#state + 1] = i end })
        coroutine.yield(p)
      end)
      coroutine.resume(x)
    end
    for i = 1, 2000 do local t = { i } end
    return rawlen(state) .. tostring(main) .. tostring(co) .. coroutine.status(co)]] },
  { "texts by the host's ways", [[
    local words = { ("%g %a %.3f"):format(1.5, 1.5, 2.25), tostring(0.1), tostring(tonumber("2,5")),
      ("\228"):upper(), tostring(("\228"):find("%a")), tostring("a" < "B"), tostring("Z" < "a"),
      tostring("\228" < "z"), tostring(math.random(1000000)), tostring(os.time),
      tostring(os.clock) }
    return table.concat(words, " ")]] },
}

--- The build of a vat that runs them: root:probe(i, p) -> text, root:waste(n), root:hold(p),
--- root:drop().
---@return string source
function M.source()
  local words = { "local vat = ...\nroot, round, held = far{}, 0, {}\nlocal probes = {}\n" }
  for i, probe in ipairs(M.list) do
    words[#words + 1] = ("probes[%d] = function(...)\n%s\nend\n"):format(i, probe[2])
  end
  words[#words + 1] = [[
function root:probe(i, x)
  p, round = x, round + 1
  local text = probes[i]()
  p = nil
  return text
end
function root:hold(x) held[#held + 1] = x end
function root:drop() held = {} end
function root:waste(n) for i = 1, n do local t = { {}, "w" .. i } end end
function root:far() return far{} end
return root
]]
  return table.concat(words)
end

return M
