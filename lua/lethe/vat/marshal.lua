-- Values as text: what goes from vat to vat, and between a vat and the host.
--
-- A list of values becomes one line of printable ASCII: the values, then the contents of every
-- table among them in the order in which tables are met, so that cycles and sharing are kept and
-- neither direction recurses. Equal values give equal text: a table's list comes first, then its
-- other keys in order (integers, other numbers, strings by bytes, false, true, then names of
-- objects). Objects and promises appear as $1, $2, ...: places in a list of slots.
--
--   marshal.encode({ "pay", { 5, to = bob }, n = 2 }, slot_of)
--     --> '="pay",@1|{5;"to"=$1}', { "o-4" }
--   marshal.decode('="pay",@1|{5;"to"=$1}', { "o-4" }, value_of)
--     --> { "pay", { 5, to = bob }, n = 2 }
--
-- `slot_of(value)` is asked for each table, userdata, function and thread: a name, or nil for what
-- is none; tables without a name are copied (raw: their metatables are not looked at), all else is
-- refused. This file needs nothing but Lua's own string and math, and works in any state.

local byte, char, find, format = string.byte, string.char, string.find, string.format
local match, sub, gsub = string.match, string.sub, string.gsub
local concat, insert, sort = table.concat, table.insert, table.sort
local huge, math_type = math.huge, math.type
local error, next, pairs, rawget, tonumber, type = error, next, pairs, rawget, tonumber, type

local M = {}

-- ---- order ------------------------------------------------------------------------------------

local function less_bytes(a, b)
  local n = #a < #b and #a or #b
  for i = 1, n do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Names of objects by kind, sign and number.
local function less_names(a, b)
  local x, y = sub(a, 1, 2), sub(b, 1, 2)
  if x ~= y then return less_bytes(x, y) end
  local m, n = tonumber(match(a, "%d+")), tonumber(match(b, "%d+"))
  if m ~= n then return m < n end
  return less_bytes(a, b)
end

local RANK <const> = { number = 1, string = 2, boolean = 3, name = 4 }

local function less_keys(a, b)
  if a.kind ~= b.kind then return RANK[a.kind] < RANK[b.kind] end
  local x, y = a.key, b.key
  if a.kind == "number" then
    local i, j = math_type(x) == "integer", math_type(y) == "integer"
    if i ~= j then return i end
    return x < y
  end
  if a.kind == "string" then return less_bytes(x, y) end
  if a.kind == "boolean" then return not x and y end
  return less_names(a.name, b.name)
end

-- ---- encoding ---------------------------------------------------------------------------------

local function escape(c)
  return format("\\x%02X", byte(c))
end

local function quoted(text)
  return '"' .. gsub(text, "[^]-~ !#-[]", escape) .. '"'
end

-- Reads back as the same number, of the same kind; the locale's decimal point is not looked at.
local function numeral(n)
  if math_type(n) == "integer" then return format("%d", n) end
  if n ~= n then return "nan" end
  if n == huge then return "inf" end
  if n == -huge then return "-inf" end
  local text = format("%.15g", n)
  if tonumber(text) ~= n then text = format("%.17g", n) end
  text = gsub(text, "[^%d%+%-e]", ".")
  return find(text, "[%.e]") and text or text .. ".0"
end

local function slot(state, name)
  local i = state.places[name]
  if not i then
    i = #state.slots + 1
    state.places[name] = i
    state.slots[i] = name
  end
  return "$" .. i
end

-- Where a value is, for messages: `home` is the number of the table that holds it, 0 for none.
local function path_to(state, home, key)
  local steps = {}
  while home > 0 do
    local kind = type(key)
    if kind == "string" and find(key, "^[%a_][%w_]*$") then
      key = "." .. key
    else
      key = "[" .. (kind == "string" and quoted(key) or kind == "number" and numeral(key) or kind)
        .. "]"
    end
    insert(steps, 1, key)
    home, key = state.homes[home], state.keys[home]
  end
  return state.what .. (state.n > 1 and " #" .. key or "") .. concat(steps)
end

local function encode_value(state, value, home, key)
  local kind = type(value)
  if kind == "nil" then return "nil" end
  if kind == "boolean" then return value and "true" or "false" end
  if kind == "number" then return numeral(value) end
  if kind == "string" then return quoted(value) end
  local name = state.slot_of(value)
  if name then return slot(state, name) end
  if kind ~= "table" then
    error(format("%s is a %s, which cannot be sent", path_to(state, home, key), kind), 0)
  end
  local i = state.numbers[value]
  if not i then
    i = #state.tables + 1
    state.numbers[value], state.tables[i] = i, value
    state.homes[i], state.keys[i] = home, key
  end
  return "@" .. i
end

-- The keys beside the list's own, in order.
local function other_keys(state, i, n)
  local t, keys = state.tables[i], {}
  for key in next, t do
    local kind, name = type(key), nil
    if kind == "number" and math_type(key) == "integer" and key >= 1 and key <= n then
      kind = nil
    elseif not RANK[kind] then
      name = state.slot_of(key)
      if not name then
        local path = path_to(state, state.homes[i], state.keys[i])
        error(format("%s has a key that is a %s", path, kind), 0)
      end
      kind = "name"
    end
    if kind then keys[#keys + 1] = { kind = kind, key = key, name = name } end
  end
  sort(keys, less_keys)
  return keys
end

local function encode_table(state, i)
  local t, list, n = state.tables[i], {}, 0
  while rawget(t, n + 1) ~= nil do
    n = n + 1
    list[n] = encode_value(state, rawget(t, n), i, n)
  end
  local others = other_keys(state, i, n)
  for j, each in pairs(others) do
    local key = each.name and slot(state, each.name) or encode_value(state, each.key, i)
    others[j] = key .. "=" .. encode_value(state, rawget(t, each.key), i, each.key)
  end
  local tail = others[1] and ";" .. concat(others, ",") or ""
  return "{" .. concat(list, ",") .. tail .. "}"
end

local function no_slot() end

--- Values as text, and the names of the objects among them. Raises, without a position, for what
--- cannot be sent.
---@param values table a list, with `n`
---@param slot_of? fun(value: any): string?
---@param what? string what the values are, for the message ("argument")
---@return string text
---@return string[] slots
function M.encode(values, slot_of, what)
  local state = {
    slot_of = slot_of or no_slot, what = what or "the value", n = values.n,
    slots = {}, places = {}, -- of the slots in the list
    tables = {}, numbers = {}, -- of the tables in the list
    homes = {}, keys = {}, -- where each table was met: in which other, under which key
  }
  local parts, i = {}, 1
  for j = 1, values.n do
    parts[j] = encode_value(state, values[j], 0, j)
  end
  local sections = { "=" .. concat(parts, ",") }
  while state.tables[i] do
    sections[i + 1] = encode_table(state, i)
    i = i + 1
  end
  return concat(sections, "|"), state.slots
end

--- One string as text.
---@param text string
---@return string
function M.text(text)
  return "=" .. quoted(text)
end

-- ---- decoding ---------------------------------------------------------------------------------

local WORDS <const> = {
  ["true"] = true, ["false"] = false, nan = 0 / 0, inf = huge, ["-inf"] = -huge,
}

local function unescape(digits)
  return char(tonumber(digits, 16))
end

-- The value at `pos`, and where it ends; nothing, and false, where there is none.
local function decode_value(state, pos)
  local text = state.text
  local c = sub(text, pos, pos)
  if c == '"' then
    local body, after = match(text, '^"([^"]*)"()', pos)
    if not body then return nil, false end
    return (gsub(body, "\\x(%x%x)", unescape)), after
  end
  local digits, after = match(text, "^[$@](%d+)()", pos)
  if digits then
    local i = tonumber(digits)
    if c == "$" then
      local name = state.slots[i]
      if not name then return nil, false end
      return state.value_of(name), after
    end
    local t = state.tables[i] or {}
    state.tables[i] = t
    if i > state.most then state.most = i end
    return t, after
  end
  local word
  word, after = match(text, "^([%a%d%.%+%-]+)()", pos)
  if not word then return nil, false end
  if word == "nil" then return nil, after end
  if WORDS[word] ~= nil then return WORDS[word], after end
  local n = tonumber(word)
  return n, n ~= nil and after
end

-- A list up to where something else than a comma follows: where that is, and its length.
local function decode_list(state, pos, into)
  local n = 0
  if find(state.text, "^[|};]", pos) or pos > #state.text then return pos, 0 end
  while true do
    local after
    n = n + 1
    into[n], after = decode_value(state, pos)
    if not after then return nil end
    if sub(state.text, after, after) ~= "," then return after, n end
    pos = after + 1
  end
end

local function decode_pairs(state, pos, into)
  while true do
    local key, after = decode_value(state, pos)
    if not after or key == nil or key ~= key or sub(state.text, after, after) ~= "=" then
      return nil
    end
    into[key], after = decode_value(state, after + 1)
    if not after then return nil end
    if sub(state.text, after, after) ~= "," then return after end
    pos = after + 1
  end
end

-- The contents of the i-th table.
local function decode_table(state, i, pos)
  local t = state.tables[i] or {}
  state.tables[i] = t
  if sub(state.text, pos, pos + 1) ~= "|{" then return nil end
  pos = decode_list(state, pos + 2, t)
  if pos and sub(state.text, pos, pos) == ";" then pos = decode_pairs(state, pos + 1, t) end
  return pos and sub(state.text, pos, pos) == "}" and pos + 1
end

local function decode_text(text, slots, value_of)
  local state = { text = text, slots = slots, value_of = value_of, tables = {}, most = 0 }
  local values, i = {}, 0
  local pos, n = decode_list(state, 2, values)
  values.n = n
  while pos and pos <= #text do
    i = i + 1
    pos = decode_table(state, i, pos)
  end
  if not pos or state.most > i then return nil end
  return values
end

local function identity(name)
  return name
end

-- Data that is no such text is a plain value of a vat that does without: it stands for itself.
local function plain(data, slots, value_of, is_message)
  local values = { n = 0 }
  if is_message and type(data) == "table" then
    for i = 1, #data do
      values[i] = data[i]
    end
    values.n = #data
  elseif data ~= nil then
    values[1], values.n = data, 1
    if not is_message then return values end
  end
  for i = 1, #slots do
    values[values.n + i] = value_of(slots[i])
  end
  values.n = values.n + #slots
  if is_message or values.n == 1 then return values end
  local list = values.n > 0 and values or nil
  values.n = nil
  return { list, n = 1 }
end

--- The values of a text, with `n`. `value_of(name)` gives what a slot stands for. Data in another
--- form stands for itself; without data a message's slots are its arguments, while a resolution
--- with no slot is nil, with one that object, with several the list of them.
---@param data any
---@param slots string[]
---@param value_of? fun(name: string): any
---@param is_message? boolean
---@return table values
function M.decode(data, slots, value_of, is_message)
  value_of = value_of or identity
  if type(data) == "string" and byte(data) == 61 then
    local values = decode_text(data, slots, value_of)
    if values then return values end
  end
  return plain(data, slots, value_of, is_message)
end

--- The slot that a resolution consists of, if it is nothing else than one object or promise.
---@param args { data: any, slots: string[] }
---@return string? name
function M.reference(args)
  if args.slots[1] == nil or args.slots[2] ~= nil then return nil end
  if args.data == nil or args.data == "=$1" then return args.slots[1] end
  return nil
end

return M
