-- Kernels with raw vats under want of memory: a vat whose callback starves ends alone; a kernel that
-- starves in the midst of its own work says so from then on; else all is in order.
local lethe = require "lethe"
local vat = lethe.vat
local k = vat.kernel{}
local kernels = { k }
begin()

local function echo(syscall)
  local held = {}
  return {
    deliver = function(_, method, args, result)
      if method == "keep" then held[#held + 1] = args.slots[1] end
      local slots = method == "make" and { "o+1" } or args.slots
      if method ~= "keep" then
        syscall.resolve{ { result, false, { data = args.data, slots = slots } } }
      end
    end,
    bring_out_your_dead = function()
      local dead = held
      held = {}
      syscall.dropImports(dead)
      syscall.retireImports(dead)
    end,
  }
end

local function talk(kernel, root, other)
  local object = kernel:await(kernel:send(root, "make"))
  kernel:send(other, "keep", object, { 1, "two" })
  kernel:send(kernel:send(root, "echo", other), "echo", 1.5)
  kernel:run()
  kernel:reap()
  kernel:run()
  return kernel:transcript()
end

local function work()
  local a = k:raw_vat("a", echo)
  local b = k:raw_vat("b", echo)
  local records = talk(k, a, b)
  vat.replay({ records[1], records[2], records[3] }, { a = { raw = echo }, b = { raw = echo } })
  k:terminate("b")
  assert(#k:cycles() == 0)
end

-- A kernel that can go on is in order; the other says that it cannot.
local function check()
  local ok, fine, message = pcall(k.check, k)
  if ok then
    assert(fine, message)
    k:run()
    k:reap()
    assert(k:check())
  else
    assert(fine:find("can only be closed", 1, true), fine)
  end
  for _, each in ipairs(kernels) do each:close() end
end

return work, check
