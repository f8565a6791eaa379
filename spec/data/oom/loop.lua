-- Tasks, timers, waits and errors under want of memory: no wake-up is lost, nothing hangs.
local lethe = require "lethe"
local loop = lethe.loop
begin()

local slept, ended = {}, {}
for name in ("a b tick once across never scoped ended told"):gmatch("%a+") do
  slept[name], ended[name] = false, false -- what is noted in them later allocates nothing
end
local main = loop.default()
local virtual = loop.new{ clock = "virtual" }
local closing = loop.new()

-- Whoever got as far as to sleep must end in one way or the other.
local function sleeper(name, on, seconds)
  return function()
    local _ <close> = setmetatable({}, { __close = function() ended[name] = true end })
    slept[name] = true
    local ok, message, code = on:sleep(seconds)
    if not ok and code ~= "closed" then error(message) end
    return name
  end
end

local function waits_and_joins()
  local a = virtual:spawn(sleeper("a", virtual, 1))
  local b = virtual:spawn(sleeper("b", virtual, 2))
  local joined
  virtual:spawn(function() joined = { a:join(), b:join() } end)
  local timer <close> = virtual:timer(0.5, sleeper("tick", virtual, 0.1), { every = true })
  virtual:timer(0.7, sleeper("once", virtual, 0.1))
  main:spawn(sleeper("across", virtual, 1))
  main:step()
  virtual:advance(3)
  main:run()
  assert(timer and (not joined or joined[1] == "a" or joined[1] == nil))
end

local function cancellations()
  local sleeping = virtual:spawn(sleeper("never", virtual, 900))
  local unborn = virtual:spawn(error, "unborn")
  unborn:cancel()
  virtual:step()
  sleeping:cancel()
  virtual:run()
  local closed <close> = virtual:spawn(sleeper("scoped", virtual, 900))
  virtual:step()
  assert(closed)
end

local function failures()
  local _, message, code = main:spawn(error, "raised, as if not enough memory"):join()
  assert(code == "failed" and message:find("not enough memory"), message or code)
  local many = { main:spawn(function() return 1, 2, 3, 4, 5 end):join() }
  assert(not many[1] or #many == 5)
  main:spawn(error, "not enough memory")
  main:run()
end

local function turns()
  main:spawn(function()
    for i in coroutine.wrap(function() coroutine.yield(0) end) do
      main:sleep(i)
    end
    coroutine.yield()
    main:spawn(function() main:run() end)
    main:run()
  end):join()
  local watch <close> = main:signal("USR1", print)
  assert(watch and main:sleep(0))
end

local function endings()
  closing:spawn(sleeper("ended", closing, 900))
  main:spawn(sleeper("told", closing, 900))
  closing:step()
  main:step()
  closing:close()
  main:run()
end

local function work()
  waits_and_joins()
  cancellations()
  failures()
  turns()
  endings()
end

-- Once memory is back the loops still work, and everything that was under way can end.
local function check()
  virtual:advance(1000)
  if lethe.type(closing) and pcall(closing.now, closing) then closing:close() end
  main:run()
  local done
  virtual:spawn(function()
    virtual:sleep(1)
    done = virtual:spawn(function() return "done" end):join()
  end)
  virtual:advance(1)
  assert(done == "done")
  assert(main:sleep(0) == true)
  for name, has in pairs(slept) do
    assert(not has or ended[name] or name == "ended" or name == "told", name .. " never ended")
  end
  virtual:close()
end

return work, check
