-- luajit resty_luajit.lua KEYS LIMIT: lua-resty-lrucache at home. Goes twice through the keys of a
-- file, a number in each line, and prints how many nanoseconds a request took the second time.
ngx = { now = os.time } -- luacheck: globals ngx
package.path = "/usr/share/lua/5.1/?.lua;" .. package.path
local cache = require("resty.lrucache").new(tonumber(arg[2]))

local keys = {}
for line in io.lines(arg[1]) do keys[#keys + 1] = tonumber(line) end

local began
for _ = 1, 2 do
  began = os.clock()
  for i = 1, #keys do
    local key = keys[i]
    if not cache:get(key) then cache:set(key, key) end
  end
end
print((os.clock() - began) / #keys * 1e9)
