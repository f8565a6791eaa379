-- A file, memory and a faulty backend under want of memory: what was answered is stored, what was not
-- is stored or not, and every task ends.
local lethe = require "lethe"
local backend = require "lethe.backend"
local loop = lethe.loop.default()
local path = ("/tmp/lethe-oom-%d-%d"):format(os.time(), math.random(0))
begin()

local BLOCK <const> = 32
local file
local values, written, ended = {}, {}, {}
for i = 1, 2 do
  values[i], written[i], ended[i] = string.char(64 + i):rep(BLOCK), false, true
end

-- What a call answers to want of memory is as good as an error.
local function got(value, message, code)
  if value == nil and message then error(code == "no_memory" and "not enough memory" or message, 0) end
  return value
end

local function write_all()
  for i = 1, #values do
    loop:spawn(function()
      local _ <close> = setmetatable({}, { __close = function() ended[i] = true end })
      ended[i] = false
      got(file:flush(i, values[i]))
      written[i] = true
    end)
  end
  loop:run()
end

local function work()
  file = got(backend.file{ path = path, block = BLOCK, create = true })
  os.remove(path) -- it has no name any more
  write_all()
  for i = 1, #values do
    if written[i] then assert(got(file:load(i)) == values[i]) end
  end
  assert(got(file:load(99)) == nil)
  local memory <close> = backend.memory{}
  local faulty <close> = backend.faulty(memory, { [2] = "tear" })
  got(faulty:flush("a", "AAAA"))
  assert(select(3, faulty:flush("a", "BBBB")) == "faulty")
  assert(got(faulty:load("a")) == "BBAA" and faulty:barrier())
  for read in faulty:crash_states{ sector = 2 } do
    local a = read("a")
    assert(a == nil or #a >= 2)
  end
  assert(#faulty:log() == 4)
end

local function check()
  loop:run()
  for i = 1, #values do
    assert(ended[i], "a task hangs")
    if written[i] then assert(file:load(i) == values[i]) end
  end
  if file then file:close() end
  lethe.registry.default():collect()
  lethe.registry.default():sweep()
  os.remove(path)
end

return work, check
