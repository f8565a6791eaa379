-- The timeline page of a vat script, read back from what a browser made of it.
local program = require "spec.support.program"
local json = require "lethe.json"
local timeline = require "lethe.vat.timeline"
local vat = require "lethe.vat"

local BROWSER <const> = "timeout 60 chromium --headless --no-sandbox --disable-gpu "
  .. "--virtual-time-budget=10000 --dump-dom "

-- The page's elements once its script has run.
local function dom_of(path)
  local out <const> = program.run(BROWSER .. "'file://" .. path .. "' 2>/dev/null")
  assert(out:find('data%-drawn="%d+"'), "the page's script did not end")
  return out
end

-- { [name] = { [operation] = state } }, from where the lanes' boxes stand.
local function lanes_of(dom)
  local step = tonumber(dom:match('data%-step="([%d.e-]+)"'))
  local lanes = {}
  for name, group in dom:gmatch('<g class="lane" data%-name="([^"]+)">(.-)</g>') do
    local lane = {}
    lanes[name] = lane
    for state, d in group:gmatch('data%-state="([^"]+)" d="([^"]+)"') do
      for x, width in d:gmatch("M([%d.e-]+) [%d.]+h([%d.e-]+)") do
        local first = math.floor(tonumber(x) / step + 0.5)
        local last = math.floor((tonumber(x) + tonumber(width)) / step + 0.5) - 1
        for i = first, last do
          assert(lane[i] == nil, "two states at once")
          lane[i] = state
        end
      end
    end
  end
  return lanes
end

-- The same from a log.
local function lanes_of_log(log)
  local lanes = {}
  local function put(name, i, state)
    lanes[name] = lanes[name] or {}
    lanes[name][i] = state
  end
  for _, record in ipairs(log) do
    for name, state in pairs(record.state.states) do
      put(name, record.i, state)
    end
    for _, text in ipairs(record.state.exports) do
      local name, flag = text:match("^(.*)/(.)$")
      put(name, record.i, "EXPORT/" .. flag)
    end
  end
  return lanes
end

local function marks_of(dom)
  local marks = {}
  for name, group in dom:gmatch('<g class="lane" data%-name="([^"]+)">(.-)</g>') do
    for kind, at in group:gmatch('data%-mark="([^"]+)" data%-at="([^"]*)"') do
      marks[name .. " " .. kind] = at
    end
  end
  return marks
end

local function page_of(title, log)
  local path = program.directory() .. "/timeline.html"
  assert(timeline.write(path, title, log))
  return path
end

local function without_empty(lanes)
  local out = {}
  for name, lane in pairs(lanes) do
    if next(lane) ~= nil then out[name] = lane end
  end
  return out
end

describe("the timeline of a vat script", function()
  after_each(program.clean)

  it("shows in a browser the state of every name after every operation", function()
    for _, name in ipairs{ "random-manual", "reintroduced", "stores" } do
      local log = vat.run_script(("spec/data/vat/scripts/%s.jsonl"):format(name))
      local lanes = without_empty(lanes_of(dom_of(page_of(name, log))))
      assert.are.same(lanes_of_log(log), lanes)
    end
  end)

  it("marks deliveries, collections, callbacks, and what was said", function()
    local log = vat.run_script("spec/data/vat/scripts/retired-by-both.jsonl")
    local dom = dom_of(page_of("marks", log))
    local marks = marks_of(dom)
    assert.are.same({ "1", "5", "6", "7" }, { marks["o-8 delivered"], marks["o-8 collected"],
      marks["o-8 finalized"], marks["o-8 dropped"] })
    assert.is_nil(marks["o-8 retired"])
    assert.are.equal("12", marks["o-9 retired"])
    assert.are.same({ "9", "10" }, { marks["w1 collected"], marks["w1 finalized"] })
    assert.are.equal("7 12 13", dom:match('class="boyd" data%-at="([^"]*)"'))
  end)

  it("is one file that asks for nothing", function()
    local log = vat.run_script("spec/data/vat/scripts/cascade.jsonl")
    local page = timeline.html("a page", log)
    for _, pattern in ipairs{ "src%s*=", "href%s*=", "url%s*%(", "@import", "fetch%s*%(",
      "XMLHttpRequest", "import%s*%(" } do
      assert.is_nil(page:find(pattern))
    end
  end)

  it("takes any title and any names for text", function()
    local title <const> = '</title><b>"x"</b>&$SCRIPT$'
    local log = { { i = 0, op = { op = "drop", regs = json.array{ "</script><b id=bad>" } },
      sys = json.array{}, state = { states = {}, exports = {} } } }
    local dom = dom_of(page_of(title, log))
    assert.is_nil(dom:find("<b>", 1, true))
    assert.is_nil(dom:find("<b ", 1, true))
    assert.matches("<h1>&lt;/title&gt;&lt;b&gt;\"x\"&lt;/b&gt;&amp;$SCRIPT$</h1>", dom, 1, true)
  end)

  it("is drawn with as many operations as there are", function()
    local log, sys = {}, json.array{}
    local states <const> = { "REACHABLE/R", "UNREACHABLE/R", "COLLECTED/R", "FINALIZED/R",
      "UNKNOWN/S" }
    for i = 0, 9999 do
      local at = {}
      for n = 1, 10 do
        at["o-" .. n] = states[(i // n) % 5 + 1]
      end
      log[i + 1] = { i = i, op = { op = "gc" }, sys = sys, state = { states = at, exports = {} } }
    end
    assert.are.same(lanes_of_log(log), lanes_of(dom_of(page_of("long", log))))
  end)

  it("is written by lethe vat", function()
    local path = program.directory() .. "/out.html"
    local _, err, code =
      program.run(("lethe vat --html '%s' spec/data/vat/scripts/devices.jsonl"):format(path))
    assert.are.same({ "", 0 }, { err, code })
    assert.matches("<title>devices</title>", dom_of(path), 1, true)
  end)
end)
