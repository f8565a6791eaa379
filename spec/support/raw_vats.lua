-- Raw vats that do what a spec tells them, and write down what they are told.
local M = {}

local Vat = {}
Vat.__index = Vat

local function log_args(args)
  return ("(%s)"):format(table.concat(args.slots, " "))
end

local function callbacks(vat)
  local c = {}
  local function note(...)
    table.insert(vat.log, table.concat({ ... }, " "))
  end
  function c.deliver(vref, method, args, result)
    note("deliver", vref, method .. log_args(args), result)
    if method == "act" then return vat.script(vat.syscall, args.slots, result, args) end
  end
  function c.notify(resolutions)
    for _, each in ipairs(resolutions) do
      note("notify", each.vpid, each.rejected and "rejected" or "fulfilled", log_args(each.args))
    end
    if vat.notify then vat.notify(vat.syscall, resolutions) end
  end
  for _, name in ipairs{ "drop_exports", "retire_exports", "retire_imports" } do
    c[name] = function(vrefs)
      note(name, table.concat(vrefs, " "))
      if vat[name] then vat[name](vat.syscall, vrefs) end
    end
  end
  function c.bring_out_your_dead()
    note("bring_out_your_dead")
    local dead = vat.dead
    vat.dead = nil
    if dead then dead(vat.syscall) end
  end
  return c
end

--- A raw vat of this kernel: its `root`, its `syscall` table, and the `log` of what it was told.
function M.add(k, name)
  local vat = setmetatable({ k = k, name = name, log = {} }, Vat)
  vat.root = k:raw_vat(name, function(syscall)
    vat.syscall = syscall
    return callbacks(vat)
  end)
  return vat
end

--- Sends these values to the vat, which then runs fn(syscall, slots, result, args) in its crank.
function Vat:act(fn, ...)
  self.script = fn
  local promise = self.k:send(self.root, "act", ...)
  self.k:run()
  return promise
end

--- A bringOutYourDead in which the vat runs fn(syscall), and what comes of it elsewhere.
function Vat:reap(fn)
  self.dead = fn
  self.k:reap(self.name)
  self.k:run()
end

--- The object that it exports under this name, as the host gets it.
function Vat:object(vref)
  return self.k:await(self:act(function(syscall, _, result)
    syscall.resolve{ { result, false, { slots = { vref } } } }
  end))
end

--- Gives it these values, and says what it calls them.
function Vat:gets(...)
  local names
  self:act(function(_, slots) names = slots end, ...)
  return table.unpack(names)
end

--- How a name stands in the c-list: "R", "S", or nil where it is in none.
function Vat:flag(vref)
  for _, row in ipairs(self.k:clist(self.name)) do
    if row.vref == vref then return row.reachable and "R" or row.recognizable and "S" or "-" end
  end
end

--- What it was told since the last time, in one string.
function Vat:news()
  local text = table.concat(self.log, "; ")
  self.log = {}
  return text
end

--- The code with which it ended; nil while it lives.
function Vat:ended()
  local ended = self.k:stats().ended[self.name]
  return ended and ended.code, ended and ended.message
end

return M
