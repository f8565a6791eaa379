-- What keeps spec files apart: each file gets an environment of its own that refuses global writes,
-- and whatever it required or left in _G is undone when it ends.
local M = {}

---@class lethe.spec.Snapshot
---@field loaded table
---@field globals table

local function copy(t)
  local result = {}
  for k, v in next, t do
    result[k] = v
  end
  return result
end

local function put_back(t, saved)
  for k in next, copy(t) do
    if saved[k] == nil then
      rawset(t, k, nil)
    end
  end
  for k, v in next, saved do
    rawset(t, k, v)
  end
end

---Remembers the loaded modules and the globals.
---@return lethe.spec.Snapshot
function M.save()
  return { loaded = copy(package.loaded), globals = copy(_G) }
end

---Makes modules and globals what they were at `save`.
---@param snapshot lethe.spec.Snapshot
function M.restore(snapshot)
  put_back(package.loaded, snapshot.loaded)
  put_back(_G, snapshot.globals)
end

---The environment of one spec file: `words` over the globals, and no writing.
---@param words table the describe/it vocabulary
---@return table
function M.environment(words)
  return setmetatable({}, {
    __index = function(_, key)
      local word = words[key]
      if word ~= nil then
        return word
      end
      return _G[key]
    end,
    __newindex = function(_, key)
      error(("a spec must not write the global %q (use a local)"):format(tostring(key)), 2)
    end,
  })
end

return M
