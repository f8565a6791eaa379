-- The same deliveries give the same transcript, and cost the same, whatever the collector does,
-- however Lua's hashes are seeded, wherever things lie, and whatever the host's locale is.
local lethe = require "lethe"
local chance = require "spec.support.chance"
local probes = require "spec.support.vat_probes"
local program = require "spec.support.program"
local shell = require "spec.support.vat_shell"
local talk = require "spec.support.vat_talk"

local WORK <const> = chance.WORK
local SCHEDULES <const> = math.max(16, math.floor(16 * WORK))
local PROCESSES <const> = 6

describe("a vat that probes for the collector", function()
  local plain, transcript
  local runs = {}

  setup(function()
    plain, transcript = talk.converse()
    for schedule = 1, SCHEDULES do
      local said, text = talk.converse(schedule)
      runs[schedule] = { said = said, transcript = text }
    end
  end)

  for i, probe in ipairs(probes.list) do
    it(("learns nothing from %s, under %d schedules"):format(probe[1], SCHEDULES), function()
      for schedule, run in ipairs(runs) do
        for at = i, #plain, #probes.list do
          if run.said[at] ~= plain[at] then
            error(("schedule %d, round %d:\n%s\n%s"):format(schedule, at // #probes.list + 1,
              plain[at], run.said[at]))
          end
        end
      end
    end)
  end

  it("has one transcript", function()
    for _, run in ipairs(runs) do assert.are.equal(transcript, run.transcript) end
  end)

  it("pays the same, to the instruction", function()
    local costs = talk.costs()
    for _, how in ipairs{
      { mode = "generational" }, { mode = "stop" }, { alloc = 2 },
      { alloc = 7, mode = "generational" },
      { alloc = 100, partial = 1, reorder = 3 }, { partial = 0 }, { reorder = 5, delay = false },
      { delay = true },
    } do
      assert.are.same(costs, talk.costs(function(driver) driver:plan(how) end))
      assert.are.same(costs, talk.costs(function(driver, crank)
        driver:plan(crank % 3 == 0 and how or {})
      end))
    end
  end)
end)

-- ---- from process to process ------------------------------------------------------------------

describe("two processes", function()
  local TALK <const> = [[
    local talk = require "spec.support.vat_talk"
    local said, transcript = talk.converse(tonumber(arg[1]))
    for i, cost in ipairs(talk.costs()) do said[#said + 1] = tostring(cost) end
    io.write(table.concat(said, "\n"), transcript)]]

  after_each(program.clean)

  it(("say and pay the same, %d of them"):format(PROCESSES), function()
    local path = program.file(TALK)
    local first = program.run("lethe " .. path)
    assert.matches("0x1.8p%+0", first)
    for schedule = 2, PROCESSES do
      local said, err = program.run(("lethe %s %d"):format(path, schedule))
      assert.are.equal(first, said, err)
    end
  end)

  it("say the same where numbers and orders are those of another country", function()
    local dir = program.directory()
    local made = os.execute(("localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 2>/dev/null")
      :format(dir))
    local path = program.file(('local is = os.setlocale(%q)\n%s'):format(
      made and "de_DE.UTF-8" or "C.UTF-8", TALK:gsub("io.write%(", "io.write(tostring(is), ")))
    local plain = program.run("lethe " .. program.file(TALK))
    local said = program.run(("LOCPATH=%s lethe %s"):format(dir, path))
    local is, rest = said:match("^(%S-UTF%-8)(.*)$")
    assert.are.equal(made and "de_DE.UTF-8" or "C.UTF-8", is)
    assert.are.equal(plain, rest)
  end)
end)

-- ---- ends -------------------------------------------------------------------------------------

describe("the meter", function()
  it("ends a vat at the same instruction, whatever the collector does", function()
    local SOURCE <const> = [[
      local t = {}
      for i = 1, 300 do
        t["k" .. i] = { i, tostring({}) }
        if i %% 3 == 0 then t["k" .. i // 2] = nil end
        for k in pairs(t) do t.last = k if #k > 3 then break end end
        weak_map():set(t, i)
      end
      for i = 1, %d do t.x = i end]]
    local function outlives(n, meter, schedule)
      local v = shell.new{ meter = meter }
      if schedule then v.k:gc_schedule(schedule) end
      v.k:send(v.root, "run", SOURCE:format(n))
      v.k:run()
      local ended = v:ended()
      v:close()
      return ended == nil
    end
    local low, high = 100000, 10000000 -- the least meter that is enough, to within one
    while high - low > 16 do
      local middle = (low + high) // 2
      if outlives(10, middle) then high = middle else low = middle end
    end
    for schedule = 1, 6 do
      assert.is_true(outlives(10, high, schedule))
      assert.is_false(outlives(10, low, schedule))
    end
  end)

  it("is one for a crank, and whole again in the next", function()
    local v = shell.new{ meter = 200000 }
    for _ = 1, 20 do
      assert.are.equal(1, v:run"for i = 1, 50000 do end return 1")
    end
    v:close()
  end)
end)

describe("a replay", function()
  it("goes the same under any schedule, and names what differs", function()
    local builds = { v = probes.source(), w = "return { far = function() return far{} end }" }
    local k <close> = lethe.vat.kernel{}
    local root, other = k:vat("v", builds.v), k:vat("w", builds.w)
    local x = k:await(k:send(other, "far"))
    for i in ipairs(probes.list) do k:send(root, "probe", i, x) end
    k:run()
    k:collect()
    local records = k:transcript()
    for schedule = 1, 4 do
      assert.is_true(lethe.vat.replay(records, builds, { schedule = schedule }))
    end
    builds.v = builds.v:gsub("%%%.3f", "%%.4f")
    assert.are.equal("diverged", (select(3, lethe.vat.replay(records, builds))))
  end)
end)

-- ---- the border that # finds ------------------------------------------------------------------

-- Tables with holes and many histories: numbers and booleans come, move and go, and what `#` says
-- meanwhile is summed up. Each vat's state has another seed for its strings' hashes, which no
-- number's place depends on; nor is a number's key ever dead to the collector.
local BORDERS <const> = [[
  local state = 12345
  local function random(n)
    state = (state * 1103515245 + 12345) & 0x7fffffff
    return (state >> 8) % n + 1
  end
  return { borders = function()
    local sum, holes = 0, 0
    for _ = 1, 100 do
      local t = {}
      for i = 1, random(120) do
        local how = random(10)
        if how <= 5 then
          t[random(40)] = i
        elseif how <= 7 then
          t[random(40)] = nil
        elseif how == 8 then
          t[-random(5)] = i
        elseif how == 9 then
          t[random(9) + 0.5] = i
        else
          t[random(2) == 1] = i
        end
        sum = (sum * 31 + #t) & 0xffffffff
        if #t ~= rawlen(t) then holes = holes + 1 end
      end
    end
    return sum .. " " .. holes
  end }]]

describe("# in a vat, where a table has holes", function()
  local function borders(schedule)
    local k <close> = lethe.vat.kernel{}
    k:gc_schedule(schedule)
    local root = k:vat("v", BORDERS)
    return (k:await(k:send(root, "borders")))
  end

  it("goes by what was done to it alone, as long as its keys are numbers and booleans", function()
    local expected = borders()
    assert.is_true(tonumber(expected:match("%d+$")) > 100) -- it is no list's end
    for schedule = 1, 8 do assert.are.equal(expected, borders(schedule)) end
  end)
end)
