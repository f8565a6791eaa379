-- Programs that try to get past an instruction meter, made at random from the places where control
-- can hide: protected calls and their handlers, coroutines, to-be-closed variables, callbacks of
-- the library and metamethods, nested in each other. The chunk returns a function from a seed to
-- the source of one program.
local gen

local random
local depth = 0

local function fn()
  return "function(...) " .. gen() .. " end"
end

local function closer()
  return "setmetatable({}, { __close = " .. fn() .. " })"
end

local LEAVES = {
  "while true do end",
  "local x = 1",
  "pcall(error)",
  "error({})",
  "error('x')",
  "for i = 1, 50 do local x = i * 2 end",
  "coroutine.yield(1)",
  "return 1",
  "local function f() return 1 + f() end pcall(f)",
}

local FORMS = {
  function() return "pcall(" .. fn() .. ")" end,
  function() return "while true do pcall(" .. fn() .. ") end" end,
  function() return "xpcall(" .. fn() .. ", " .. fn() .. ")" end,
  function() return "while true do xpcall(" .. fn() .. ", " .. fn() .. ") end" end,
  function() return "coroutine.wrap(" .. fn() .. ")()" end,
  function() return "for i = 1, 3 do pcall(coroutine.wrap(" .. fn() .. ")) end" end,
  function()
    return "local co = coroutine.create(" .. fn() .. ") coroutine.resume(co)"
      .. " pcall(coroutine.resume, co) coroutine.close(co)"
  end,
  function() return "local x <close> = " .. closer() .. " " .. gen() end,
  function()
    return "local x <close>, y = " .. closer() .. " local z <close> = " .. closer() .. gen()
  end,
  function()
    return "for k in " .. fn() .. ", nil, nil, " .. closer() .. " do " .. gen() .. " break end"
  end,
  function() return "table.sort({ 3, 1, 2, 4 }, " .. fn() .. ")" end,
  function() return "string.gsub('abc', '.', " .. fn() .. ")" end,
  function() return "pcall(load, " .. fn() .. ")" end,
  function()
    return "local t = setmetatable({}, { __index = " .. fn() .. ", __add = " .. fn()
      .. ", __tostring = " .. fn() .. ", __call = " .. fn() .. " }) pcall(tostring, t) pcall(t)"
      .. " pcall(function() return t + 1 end) local y = t.x"
  end,
  function() return "local f = " .. fn() .. " f() pcall(f)" end,
  function() return gen() .. " " .. gen() end,
  function()
    return "G = G or {} G[#G + 1] = coroutine.create(" .. fn() .. ")"
      .. " for i = 1, #G do pcall(coroutine.resume, G[i]) end"
  end,
  function() return "for i = 1, #(G or {}) do pcall(coroutine.close, G[i]) end" end,
}

function gen()
  if depth > 6 or random(5) == 1 then return "do " .. LEAVES[random(#LEAVES)] .. " end" end
  depth = depth + 1
  local text = "do " .. FORMS[random(#FORMS)]() .. " end"
  depth = depth - 1
  return text
end

return function(seed)
  local state = seed
  random = function(n)
    state = state * 6364136223846793005 + 1442695040888963407
    return (state >> 33) % n + 1
  end
  depth = 0
  return gen()
end
