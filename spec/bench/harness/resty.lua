--- lua-resty-lrucache, the LRU cache that OpenResty's users take, as a peer of lethe.cache: the
-- file that Debian packages. LuaJIT is its home. Under Lua 5.4 the structures that it has from
-- LuaJIT's FFI are tables, as they would be in a cache written for it.
--
--   resty.load()                  the module, or nil where Debian's package is not there
--   resty.on_luajit(keys, limit)  a function that has LuaJIT go through the keys twice, and gives
--                                 the nanoseconds of a request the second time; nil without LuaJIT

local M = {}

local FILE <const> = "/usr/share/lua/5.1/resty/lrucache.lua"
local UNDER_LUAJIT <const> = "spec/bench/harness/resty_luajit.lua"

-- ---- under Lua 5.4 ----------------------------------------------------------------------------

-- Nodes in a row. The row itself is the first, and counts further by `+`.
local Row <const> = { __add = function(row, i) return row[i] end }

local rows = 0
local function new_row(_, n)
  local row = setmetatable({ address = rows }, Row)
  row[0] = row
  for i = 1, n - 1 do
    row[i] = { address = rows + i, expire = 0, prev = false, next = false, user_flags = 0 }
  end
  rows = rows + n
  return row
end

local function nothing() end

local FFI <const> = {
  cdef = nothing, fill = nothing, sizeof = nothing, typeof = nothing, new = new_row,
  cast = function(_, node) return node.address end,
}

function M.load()
  local chunk <const> = loadfile(FILE, "t", setmetatable({
    jit = { version = "LuaJIT 2.1" },
    ngx = { now = os.time },
    require = function(name) return name == "ffi" and FFI or error("no " .. name) end,
  }, { __index = _G }))
  return chunk and chunk()
end

-- ---- under LuaJIT -----------------------------------------------------------------------------

function M.on_luajit(keys, limit)
  if not M.load() or not os.execute("luajit -v >/dev/null 2>&1") then return nil end
  return function()
    local path <const> = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write(table.concat(keys, "\n")):close()
    local pipe <close> = assert(io.popen(("luajit %s %s %d"):format(UNDER_LUAJIT, path, limit)))
    local nanoseconds <const> = pipe:read("n")
    os.remove(path)
    return assert(nanoseconds, "LuaJIT gave no time")
  end
end

return M
