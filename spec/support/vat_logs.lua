-- Logs of vat scripts, compared at a level: "sys" is what was said, "answer" adds what userspace
-- was told, "state" where every name stood, "all" what the collector's operations did.
local json = require "lethe.json"

local M = {}

local KEYS <const> = {
  sys = { "sys" }, answer = { "sys", "answer" }, state = { "sys", "answer", "state" },
  all = { "sys", "answer", "state", "engine", "violations" },
}

-- An empty list and an empty object are one thing here.
local function text(value)
  return (json.encode(value):gsub("%[%]", "{}"))
end

---What differs first, or nil.
---@param expected table[]
---@param got table[]
---@param level "sys"|"answer"|"state"|"all"
---@return string?
function M.difference(expected, got, level)
  if #expected ~= #got then return ("%d records, expected %d"):format(#got, #expected) end
  for i, record in ipairs(expected) do
    for _, key in ipairs(KEYS[level]) do
      local want, have = text(record[key]), text(got[i][key])
      if want ~= have then
        return ("operation %d %s: %s\n  expected %s\n  got      %s"):format(i - 1,
          json.encode(record.op, { "op" }), key, want, have)
      end
    end
  end
end

---A file's records.
---@param path string
---@return table[]
function M.read(path)
  local file <close> = assert(io.open(path))
  return assert(json.decode_lines(file:read("a")))
end

---What the vat said and answered, operations of the collector left out, as one text.
---@param log table[]
---@return string
function M.transcript(log)
  local lines = {}
  for _, record in ipairs(log) do
    if not record.engine then
      lines[#lines + 1] = text{ op = record.op, sys = record.sys, answer = record.answer }
    end
  end
  return table.concat(lines, "\n")
end

---The names of the scripts in a folder, without their ending; empty where there is none.
---@param folder string
---@return string[]
function M.scripts(folder)
  local list = {}
  local pipe <close> = io.popen(("ls '%s' 2>/dev/null"):format(folder))
  for line in pipe:lines() do
    list[#list + 1] = line:match("^(.*)%.jsonl$")
  end
  return list
end

return M
