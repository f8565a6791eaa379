-- Vat scripts: a list of operations on one vat, a JSON line each, and the log of what they did.
--
--   for _, record in ipairs(vat.run_script("S01-ignore.jsonl")) do print(record.i) end
--
-- The header says whether bring_out_your_dead collects first ("forced") or whether the script's own
-- operations are the collector ("manual"). Under engine "lua" the collector is Lua's, which is held
-- back while a script runs, so that a log is the same each time, or let loose by a schedule: then
-- states differ from seed to seed, and the syscalls and answers must not.

local base = require "lethe.core.base"
local core = require "lethe.core.slots"
local deferred = require "lethe.vat.slots_deferred"
local json = require "lethe.json"
local schedule = require "lethe.vat.script_schedule"
local script_ops = require "lethe.vat.script_ops"
local walk = require "lethe.vat.slots_walk"

local M = {}

-- ---- reading ----------------------------------------------------------------------------------

local function check_header(header)
  if type(header) ~= "table" or header.script == nil then return "the first line is no header" end
  if header.gc ~= "manual" and header.gc ~= "forced" then
    return 'the header\'s gc must be "manual" or "forced"'
  end
end

-- What an operation cannot be run without.
local NEEDS <const> = {
  deliver = { args = "table", into = "table" }, drop = { regs = "table" },
  make = { fields = "table" }, setField = { index = "number" }, getField = { index = "number" },
  send = { args = "table" }, call = { result = "string" }, notify = { resolutions = "table" },
  dropExports = { vrefs = "table" }, retireExports = { vrefs = "table" },
  retireImports = { vrefs = "table" }, collect = { objs = "table" },
}

local KINDS <const> = { table = "a list", number = "a number", string = "a string" }

local function check_fields(fields, needs)
  for name, kind in pairs(needs) do
    if type(fields[name]) ~= kind then return ("%s must be %s"):format(name, KINDS[kind]) end
  end
end

local function check_resolutions(list)
  for _, each in ipairs(list) do
    local message = type(each) ~= "table" and "a resolution is an object"
      or check_fields(each, { p = "string", slots = "table" })
    if message then return message end
  end
end

local function check_op(op)
  local name = type(op) == "table" and op.op
  if type(name) ~= "string" then return "an operation expected" end
  if not script_ops.ops[name] and not script_ops.engine[name] then
    return ("unknown operation %q"):format(name)
  end
  local message = check_fields(op, NEEDS[name] or {})
  return message or name == "notify" and check_resolutions(op.resolutions) or nil
end

--- A script as its header and its operations; nil, message, code.
---@param path string
---@return table? header
---@return table|string ops or message
---@return "not_found"|"bad_format"|nil code
function M.read(path)
  local file <close> = io.open(path)
  if not file then return nil, ("cannot open %s"):format(path), "not_found" end
  local text, why = file:read("a")
  if not text then return nil, ("%s: %s"):format(path, why), "not_found" end
  local list, message, line = json.decode_lines(text)
  if not list then return nil, ("%s:%d: %s"):format(path, line, message), "bad_format" end
  local header = table.remove(list, 1)
  message = check_header(header)
  if message then return nil, ("%s: %s"):format(path, message), "bad_format" end
  for i, op in ipairs(list) do
    message = check_op(op)
    if message then
      return nil, ("%s: operation %d: %s"):format(path, i - 1, message), "bad_format"
    end
  end
  return header, list
end

-- ---- the vat ----------------------------------------------------------------------------------

-- Syscalls as the log has them: lists.
local function recorder(vat)
  local function add(entry)
    vat.said[#vat.said + 1] = json.array(entry)
  end
  local calls = {}
  function calls.send(target, method, args, result)
    add{ "send", target, method, json.array(table.move(args.slots, 1, #args.slots, 1, {})), result }
  end
  function calls.subscribe(vpid)
    add{ "subscribe", vpid }
  end
  function calls.resolve(resolutions)
    local list = {}
    for i, one in ipairs(resolutions) do
      list[i] = json.array{ one[1], one[2], json.array(one[3].slots) }
    end
    add{ "resolve", json.array(list) }
  end
  for _, name in ipairs{ "dropImports", "retireImports", "retireExports" } do
    calls[name] = function(vrefs) add{ name, json.array(vrefs) } end
  end
  return calls
end

-- Scripts were recorded where what stands under a name in a weak map lives until the map's end was
-- noticed, not only as long as the map: `kept` does the same for the log's sake.
local function new_vat(header, engine)
  local vat = {
    registers = {},
    own = setmetatable({}, { __mode = "k" }), -- promises that settle may settle
    weak = setmetatable({}, { __mode = "k" }),
    stores = setmetatable({}, { __mode = "k" }),
    kept = {},
    said = {},
    sees = engine == "manual",
  }
  vat.hooks, vat.run_jobs = deferred.hooks()
  vat.slots = require("lethe.vat.slots").new{
    engine = engine,
    forced = header.gc == "forced",
    syscall = recorder(vat),
    root = { "root" },
    roots = { registers = vat.registers, kept = vat.kept },
    on_release = function(collection) vat.kept[collection] = nil end,
    first_export = header.firstExportId,
    first_promise = header.firstPromiseId,
    promises = vat.hooks,
    encode = function(value) return script_ops.encode(vat.slots, value) end,
    decode = function(args) return script_ops.decode(vat.slots, args) end,
  }
  return vat
end

-- ---- the log ----------------------------------------------------------------------------------

local function sorted(list)
  table.sort(list, base.less)
  return json.array(list)
end

local CLIST <const> = { [true] = "R", [false] = "S" }

-- What is known of one import, or export, goes into the state's lists.
local function add_slot(state, slots, slot, reached)
  local vref = core.name(slots, slot)
  local kind, own, stored = core.parse(vref)
  if kind ~= "o" or vref == "o+0" then return end
  local name, reachable, recognizable, dead, retired = core.look(slots, slot)
  if own then
    if recognizable then state.exports[#state.exports + 1] = vref .. "/" .. CLIST[reachable] end
    if reachable and not stored then state.pinnedExports = state.pinnedExports + 1 end
    if dead and not stored and name == "FINALIZED" then state.dead[#state.dead + 1] = vref end
    return
  end
  if name == "REACHABLE" and not reached[slot] then name = "UNREACHABLE" end
  if name ~= "UNKNOWN" or recognizable then
    state.states[vref] = name .. "/" .. (recognizable and CLIST[reachable] or "-")
  end
  if dead and recognizable then state.dead[#state.dead + 1] = vref end
  if retired and recognizable then state.retired[#state.retired + 1] = vref end
end

local function state_of(vat)
  local slots = vat.slots
  local _, _, _, of = core.tables(slots)
  local reached = walk.reached(slots, of)
  local state = {
    states = {}, dead = {}, retired = {}, exports = {}, pinnedExports = 1,
    promises = json.array(slots:promises()),
  }
  for _, slot in ipairs(core.slots(slots)) do
    add_slot(state, slots, slot, reached)
  end
  state.dead, state.retired = sorted(state.dead), sorted(state.retired)
  state.exports = sorted(state.exports)
  return state
end

-- One operation, one crank.
local function step(vat, i, op, mischief)
  vat.said = {}
  if mischief then mischief:before(vat.slots) end
  local record = { i = i, op = op }
  local engine = script_ops.engine[op.op]
  if engine then
    record.engine = engine(vat, op)
  else
    local ok, answer = pcall(script_ops.ops[op.op], vat, op)
    if ok then
      record.answer = answer
    else
      record.violations = json.array{ tostring(answer) }
    end
    vat.run_jobs()
  end
  if mischief then mischief.after() end
  record.sys = json.array(vat.said)
  record.state = state_of(vat)
  return record
end

local function run(vat, list, mischief)
  local log = {}
  for i, op in ipairs(list) do
    log[i] = step(vat, i - 1, op, mischief)
  end
  return log
end

-- ---- running ----------------------------------------------------------------------------------

--- Runs operations that were read: the log.
---@param header table
---@param list table[]
---@param options { engine: "lua"|"manual"|nil, schedule: integer? }?
---@return table[]
function M.play(header, list, options)
  options = options or {}
  local engine = options.engine or (header.gc == "manual" and "manual" or "lua")
  local held <close> = schedule.hold() -- Lua's collector, until the end
  local vat = new_vat(header, engine)
  local mischief = options.schedule and schedule.new(options.schedule, engine)
  local ok, log = pcall(run, vat, list, mischief)
  vat.slots:close()
  if not ok then error(log, 0) end
  return log, held and nil
end

--- Runs a vat script.
---@param path string
---@param options { engine: "lua"|"manual"|nil, schedule: integer? }?
---@return table[]? log
---@return string? message
---@return "not_found"|"bad_format"|nil code
function M.run(path, options)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'run_script' (path expected, got %s)"):format(type(path)), 2)
  end
  if options == nil then options = {} end
  base.options(options, { "engine", "schedule" }, 2)
  if options.engine ~= nil and options.engine ~= "lua" and options.engine ~= "manual" then
    error(('engine must be "lua" or "manual" (got %s)'):format(tostring(options.engine)), 2)
  end
  if options.schedule ~= nil and math.type(options.schedule) ~= "integer" then
    error(("schedule must be an integer (got %s)"):format(tostring(options.schedule)), 2)
  end
  local header, list, code = M.read(path)
  if not header then return nil, list, code end
  return (M.play(header, list, options))
end

-- The order in which a record's keys are written.
local ORDER <const> = { "i", "op", "sys", "answer", "engine", "violations", "state", "states",
  "dead", "retired", "exports", "pinnedExports", "promises" }

--- A record of a log as a line.
---@param record table
---@return string
function M.line(record)
  return json.encode(record, ORDER)
end

return M
