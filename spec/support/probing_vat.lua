-- A vat that keeps, drops and passes on what it gets, and looks for the collector with everything
-- that it has: weak collections, orders, texts, identities, metamethods, memory that it wastes.
-- luacheck: read globals E far when promise weak_map weak_set, no self

--- A build for Kernel:vat: what it answers must not depend on when its heap is collected.
return function(vat)
  local root, kept = {}, {}
  local map, set = weak_map(), weak_set()
  local serial = 0

  local function waste(n)
    local t = {}
    for i = 1, n do t[i % 7 + 1] = { tostring(i), {} } end
    return #t
  end

  function root:make()
    serial = serial + 1
    local mine = serial
    return far{
      name = function() return ("%s %d"):format(vat.name, mine) end,
      meet = function(_, x)
        kept[#kept + 1] = x
        return waste(mine % 9)
      end,
    }
  end

  function root:keep(x)
    kept[#kept + 1] = x
    map:set(x, { tostring(x) })
    return #kept
  end

  function root:note(x)
    set:add(x)
    map:set(x, #kept)
    return set:has(x)
  end

  function root:known(x)
    local value = map:get(x)
    return map:has(x), set:has(x), type(value) == "table" and value[1] or value
  end

  function root:forget(x) return map:delete(x), set:delete(x) end

  function root:drop(n)
    for _ = 1, n do table.remove(kept, 1) end
    return #kept
  end

  function root:texts()
    local list = {}
    for i, x in ipairs(kept) do list[i] = tostring(x) end
    return table.concat(list, ","), ("%s %s"):format(kept[1], {}):gsub("%d+$", "")
  end

  function root:order()
    local t, list = { 3, 2, 1, [2.5] = 1, x = 1, [true] = 1, [root] = 1, [-1] = 1 }, {}
    for i, x in ipairs(kept) do
      if type(x) ~= "table" then t[x] = i end
    end
    for key in pairs(t) do list[#list + 1] = tostring(key) end
    for key in pairs{ b = 1, a = 2, c = 3 } do list[#list + 1] = key end
    return table.concat(list, " ")
  end

  function root:same(x)
    for i, each in ipairs(kept) do
      if each == x then return i end
    end
    return 0
  end

  function root:hidden()
    local log = {}
    do
      setmetatable({}, { __gc = function() log[#log + 1] = "gc" end })
      local weak = setmetatable({}, { __mode = "kv" })
      weak[{}], weak[1] = 1, {}
      waste(50)
      log[#log + 1] = weak[1] and "held" or "gone"
    end
    return table.concat(log), collectgarbage == nil, debug == nil, os.clock == nil
  end

  function root:wasteful(n) return waste(n * 10) end

  function root:pass(to, x) return E(to):keep(x) end

  function root:names()
    local list = {}
    for i, x in ipairs(kept) do
      list[i] = when(E(x):name(), function(name) return name end, function(why) return why end)
    end
    return list[1], list[2]
  end

  function root:burn(n)
    local sum = 0
    for i = 1, n do sum = sum + #tostring(i) end
    return sum
  end

  return root
end
