-- Short vat scripts as text, with what must come of each operation below it:
--
--   deliver o-1:a o-2        o-1 into register a, o-2 into none
--   drop a
--   bring                    bringOutYourDead
--   > dropImports o-1 o-2    it said this, and nothing else
--   > retireImports o-1 o-2
--   ? o-1 UNKNOWN            where a name stands now; with /R or /S also what the kernel knows
--   = true                   what userspace was told
--
-- An operation without > below it said nothing.
local json = require "lethe.json"
local script = require "lethe.vat.script"
local vat = require "lethe.vat"

local M = {}

local NULL <const> = json.null

local function words(text)
  local list = {}
  for word in text:gmatch("%S+") do
    list[#list + 1] = word
  end
  return list
end

local function value(word)
  if word == nil or word == "-" then return NULL end
  return word
end

-- ---- operations -------------------------------------------------------------------------------

local read = {}

function read.deliver(list)
  local op = { op = "deliver", args = {}, into = {} }
  for i, word in ipairs(list) do
    local vref, register = word:match("^([^:]+):(%a%w*)$")
    op.args[i], op.into[i] = vref or word, register or NULL
  end
  return op
end

function read.send(list) -- send t a b -> r
  local op = { op = "send", target = table.remove(list, 1), args = {}, into = NULL }
  while list[1] and list[1] ~= "->" do
    table.insert(op.args, table.remove(list, 1))
  end
  if list[1] then op.into = list[2] end
  return op
end

function read.notify(list) -- notify p-1 ok o-2 o-3 ; p-2 no
  local op = { op = "notify", resolutions = {} }
  local one
  for _, word in ipairs(list) do
    if word == ";" then
      one = nil
    elseif not one then
      one = { p = word, slots = {} }
      table.insert(op.resolutions, one)
    elseif one.reject == nil then
      one.reject = word == "no"
    else
      table.insert(one.slots, word)
    end
  end
  return op
end

local function with(name, ...)
  local fields <const> = { ... }
  return function(list)
    local op = { op = name }
    for i, field in ipairs(fields) do
      op[field] = value(list[i])
    end
    return op
  end
end

local function listing(name, field)
  return function(list) return { op = name, [field] = list } end
end

read.call = with("call", "value", "result")
read.promise = with("newPromise", "into")
read.copy = with("copy", "from", "to")
read.same = with("same", "a", "b")
read.map = with("newWeakMap", "into")
read.set = with("newWeakSet", "into")
read.add = with("weakAdd", "weak", "key", "value")
read.has = with("weakHas", "weak", "key")
read.look = with("weakGet", "weak", "key", "into")
read.delete = with("weakDelete", "weak", "key")
read.store = with("newStore", "into")
read.keep = with("storeSet", "store", "k", "value")
read.fetch = with("storeGet", "store", "k", "into")
read.forget = with("storeDelete", "store", "k")
read.weakstore = with("newWeakStore", "into")
read.wkeep = with("weakStoreAdd", "store", "key", "value")
read.whas = with("weakStoreHas", "store", "key")
read.wforget = with("weakStoreDelete", "store", "key")
read.bring = with("bringOutYourDead")
read.gc = with("gc")
read.drop = listing("drop", "regs")
read.dropExports = listing("dropExports", "vrefs")
read.retireExports = listing("retireExports", "vrefs")
read.retireImports = listing("retireImports", "vrefs")
read.collect = listing("collect", "objs")

function read.settle(list) -- settle p ok x
  return { op = "settle", promise = list[1], reject = list[2] == "no", value = value(list[3]) }
end

function read.make(list)
  return { op = "make", into = table.remove(list, 1), fields = list }
end

function read.put(list) -- put x 0 a
  return { op = "setField", obj = list[1], index = math.tointeger(tonumber(list[2])),
    value = value(list[3]) }
end

function read.get(list)
  return { op = "getField", obj = list[1], index = math.tointeger(tonumber(list[2])),
    into = list[3] }
end

function read.finalize(list)
  local n = list[1] and math.tointeger(tonumber(list[1]))
  return { op = "finalize", n = n or "all", pick = list[2] and math.tointeger(tonumber(list[2])) }
end

-- ---- what is expected -------------------------------------------------------------------------

local function said(call)
  local name <const> = call[1]
  if name == "subscribe" then return "subscribe " .. call[2] end
  if name == "send" then
    return ("send %s %s -> %s"):format(call[2], table.concat(call[4], " "), call[5]):gsub("  ", " ")
  end
  if name ~= "resolve" then return name .. " " .. table.concat(call[2], " ") end
  local parts = {}
  for i, one in ipairs(call[2]) do
    parts[i] = table.concat({ one[1], one[2] and "no" or "ok", table.unpack(one[3]) }, " ")
  end
  return "resolve " .. table.concat(parts, " ; ")
end

-- The story as steps: { text, op, said, answer, states }.
local function parse(story)
  local steps, last = {}, nil
  for line in story:gmatch("[^\n]+") do
    local list = words((line:gsub("%-%-.*$", "")))
    local first = table.remove(list, 1)
    if first == ">" then
      table.insert(last.said, table.concat(list, " "))
    elseif first == "=" then
      last.answer = list[1] == "true"
    elseif first == "?" then
      last.states[list[1]] = list[2]
    elseif first then
      last = { text = line:match("^%s*(.-)%s*$"), said = {}, states = {} }
      last.op = assert(read[first], "no such operation: " .. first)(list)
      steps[#steps + 1] = last
    end
  end
  return steps
end

local function check_state(step, record, where)
  for vref, want in pairs(step.states) do
    local have = record.state.states[vref] or "UNKNOWN/-"
    if not want:find("/", 1, true) then have = have:match("^[^/]+") end
    if have ~= want then
      error(("%s: %s is %s, expected %s"):format(where, vref, have, want), 0)
    end
  end
end

local function check_step(step, record, engine)
  local where = ("%s (engine %s)"):format(step.text, engine)
  if record.violations then error(where .. ": " .. record.violations[1], 0) end
  local list = {}
  for i, call in ipairs(record.sys) do
    list[i] = said(call)
  end
  local have, want = table.concat(list, "\n"), table.concat(step.said, "\n")
  if have ~= want then
    error(("%s said\n%s\nexpected\n%s"):format(where, have, want), 0)
  end
  if step.answer ~= nil and record.answer ~= step.answer then
    error(("%s answered %s"):format(where, tostring(record.answer)), 0)
  end
  check_state(step, record, where)
end

local function play(gc, engine, story)
  local header = { script = "story", gc = gc, firstExportId = 10, firstPromiseId = 5 }
  local steps, list = parse(story), {}
  for i, step in ipairs(steps) do
    list[i] = step.op
  end
  local log = script.play(header, list, { engine = engine })
  for i, step in ipairs(steps) do
    check_step(step, log[i], engine)
  end
  return log
end

---A story in which bring collects: told under both engines.
---@param story string
---@return table[] log of engine "lua"
function M.forced(story)
  play("forced", "manual", story)
  return play("forced", "lua", story)
end

---A story that is its own collector.
---@param story string
---@return table[] log
function M.manual(story)
  return play("manual", "manual", story)
end

-- Slot tables that write down what they say.
function M.slots(options)
  local lines, calls = {}, {}
  for _, name in ipairs{ "send", "subscribe", "resolve", "dropImports", "retireImports",
    "retireExports" } do
    calls[name] = function(list)
      lines[#lines + 1] = name .. (type(list) == "table" and " " .. table.concat(list, " ") or "")
    end
  end
  options = options or {}
  options.syscall = calls
  return vat.slots(options), lines
end

return M
