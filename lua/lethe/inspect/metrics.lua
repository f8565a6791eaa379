-- The figures of the engines in Prometheus' text format, version 0.0.4.
--
-- ENGINES says, for each class of objects, which fields of its stats() become which metrics: names
-- and units follow Prometheus' conventions (base units, `_total` for what only grows). A sample is
-- labelled with the name of the object it is of.

local M = {}

M.CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

-- field of stats(), metric, help; a metric that ends in _total is a counter, else a gauge.
---@type table<string, string[][]>
M.ENGINES = {
  ["quota.Tracker"] = {
    { "used", "lethe_quota_used_bytes", "Bytes claimed and not released" },
    { "peak", "lethe_quota_peak_bytes", "The most that used has been" },
    { "max", "lethe_quota_max_bytes", "The limit past which a pass begins" },
    { "low_water", "lethe_quota_low_water_bytes", "What a pass reclaims down to" },
    { "untracked", "lethe_quota_untracked_bytes", "Resident memory less what is tracked" },
    { "condemned", "lethe_quota_condemned_bytes", "Reclaimed, and not given back yet" },
    { "accounts", "lethe_quota_accounts", "Open accounts" },
    { "participants", "lethe_quota_participants", "Participants of all accounts" },
    { "reclaims", "lethe_quota_reclaims_total", "Reclamation passes" },
    { "victims", "lethe_quota_victims_total", "Participants that passes asked for memory" },
    { "freed", "lethe_quota_freed_bytes_total", "Bytes that passes freed" },
    { "policy_failures", "lethe_quota_policy_failures_total", "Passes whose policy failed" },
    { "stuck", "lethe_quota_stuck_total", "Passes that could not reach their goal" },
    { "stall_seconds", "lethe_quota_stall_seconds_total", "Time in which a claim waited" },
    { "longest_hold", "lethe_quota_longest_hold_participants", "Most visited under one lock" },
    { "longest_hold_time", "lethe_quota_longest_hold_seconds", "The longest that lasted" },
    { "longest_pass", "lethe_quota_longest_pass_seconds", "The longest pass" },
    { "pressure", "lethe_quota_pressure_ratio", "0 at low water, 1 at max" },
  },
  ["epoch.Manager"] = {
    { "epoch", "lethe_epoch_epoch", "The epoch" },
    { "safe_epoch", "lethe_epoch_safe_epoch", "The least epoch that a pinned thread shows" },
    { "retired", "lethe_epoch_retired_total", "Objects retired" },
    { "reclaimed", "lethe_epoch_reclaimed_total", "Objects freed" },
    { "limbo", "lethe_epoch_limbo_objects", "Retired and not freed yet" },
    { "limbo_bytes", "lethe_epoch_limbo_bytes", "The bytes of these" },
    { "orphans", "lethe_epoch_orphan_objects", "Limbo of threads that have left" },
    { "advances", "lethe_epoch_advances_total", "Steps of the epoch" },
    { "ejections", "lethe_epoch_ejections_total", "Pins that were neutralized" },
  },
  ["cache.Cache"] = {
    { "hits", "lethe_cache_hits_total", "Gets answered from memory" },
    { "misses", "lethe_cache_misses_total", "Gets that had to load" },
    { "loads", "lethe_cache_loads_total", "Loads that the backend was asked for" },
    { "load_failures", "lethe_cache_load_failures_total", "Loads that failed" },
    { "evictions", "lethe_cache_evictions_total", "Entries evicted" },
    { "flushes", "lethe_cache_flushes_total", "Entries written" },
    { "flush_failures", "lethe_cache_flush_failures_total", "Writes that failed" },
    { "barriers", "lethe_cache_barriers_total", "Barriers that the backend was asked for" },
    { "dirty", "lethe_cache_dirty_entries", "Entries not written yet" },
    { "in_use", "lethe_cache_in_use_entries", "Entries that are held" },
    { "entries", "lethe_cache_entries", "Entries" },
    { "bytes", "lethe_cache_bytes", "Their weight" },
  },
  ["vat.Kernel"] = {
    { "cranks", "lethe_vat_cranks_total", "Cranks in all" },
    { "vats", "lethe_vat_vats", "Vats that live" },
    { "queue", "lethe_vat_queue_messages", "Messages and notifications that wait" },
    { "gc_actions", "lethe_vat_gc_actions", "Collections of others to be told" },
    { "objects", "lethe_vat_objects", "Objects known to the kernel" },
    { "promises", "lethe_vat_promises", "Promises known to the kernel" },
    { "handles", "lethe_vat_handles", "Presences and promises of this program" },
  },
  ["registry.Registry"] = {
    { "live", "lethe_registry_live_objects", "Registered and alive" },
    { "dead", "lethe_registry_dead_objects", "Collected and not swept yet" },
    { "registered", "lethe_registry_registered_total", "Registrations" },
    { "finalized", "lethe_registry_finalized_total", "Deaths" },
    { "swept", "lethe_registry_swept_total", "Deaths that were swept" },
  },
}

-- What an object has in parts: the list of it in the object's figures, the label that tells the
-- parts apart and the field it is taken from, and the metrics of one part.
local PARTS <const> = {
  ["quota.Tracker"] = {
    list = "top", label = "account", from = "name",
    { "used", "lethe_quota_account_used_bytes", "Bytes of one of the largest accounts" },
    { "reclaims", "lethe_quota_account_reclaims_total", "Times it was reclaimed" },
  },
  ["epoch.Manager"] = {
    list = "threads", label = "thread", from = "index",
    { "limbo", "lethe_epoch_thread_limbo_objects", "Retired by a thread and not freed yet" },
    { "limbo_bytes", "lethe_epoch_thread_limbo_bytes", "The bytes of these" },
    { "pinned", "lethe_epoch_thread_pinned", "1 while the thread is pinned" },
    { "neutralized", "lethe_epoch_thread_neutralized", "1 while its pin is neutralized" },
  },
  ["vat.Kernel"] = {
    list = "by_vat", label = "vat", from = "name",
    { "imports", "lethe_vat_imports", "Objects of others that a vat can reach" },
  },
}

local function escape(text)
  return (text:gsub('[\\"\n]', { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }))
end

local function number(value)
  if value == true then return "1" end
  if value == false then return "0" end
  if value ~= value then return "NaN" end
  if value == math.huge then return "+Inf" end
  if value == -math.huge then return "-Inf" end
  return math.type(value) == "integer" and ("%d"):format(value) or ("%.17g"):format(value)
end

-- Samples by metric, metrics in the order in which they were first met.
local function collect(metrics, row, labels, value)
  if type(value) ~= "number" and type(value) ~= "boolean" then return end
  local name <const>, help <const> = row[2], row[3]
  local metric = metrics[name]
  if not metric then
    metric = { name = name, help = help }
    metrics[name], metrics[#metrics + 1] = metric, metric
  end
  metric[#metric + 1] = ("%s{%s} %s"):format(name, labels, number(value))
end

-- How many of the list have each name: no two samples of a metric may have the same labels.
local function count_names(list, field)
  local counts = {}
  for _, entry in ipairs(list) do
    local name <const> = entry[field]
    if name then counts[name] = (counts[name] or 0) + 1 end
  end
  return counts
end

-- The labels of an object's parts: where two have one name, their account tells them apart.
local function part_labels(object, parts)
  local list <const>, labels = object.stats[parts.list] or {}, {}
  local counts <const> = count_names(list, parts.from)
  for i, part in ipairs(list) do
    local which = parts.from == "index" and i or part[parts.from] or part.account
    labels[i] = ('%s="%s"'):format(parts.label, escape(tostring(which)))
    if (counts[which] or 0) > 1 then labels[i] = ('%s,id="%s"'):format(labels[i], part.account) end
  end
  return labels
end

-- The label of an object: the second of its class that has a name is told from the first.
local function object_label(seen, object)
  local key <const> = object.type .. " " .. object.name
  seen[key] = (seen[key] or 0) + 1
  local label <const> = ('name="%s"'):format(escape(object.name))
  return seen[key] == 1 and label or ('%s,nth="%d"'):format(label, seen[key])
end

--- The text of these objects.
---@param objects { name: string, type: string, stats: table }[]
---@return string
function M.text(objects)
  local metrics, out, seen = {}, {}, {}
  for _, object in ipairs(objects) do
    local label <const> = object_label(seen, object)
    for _, row in ipairs(M.ENGINES[object.type] or {}) do
      collect(metrics, row, label, object.stats[row[1]])
    end
    local parts <const> = PARTS[object.type]
    local part_label <const> = parts and part_labels(object, parts)
    for i, part in ipairs(parts and object.stats[parts.list] or {}) do
      for _, row in ipairs(parts) do
        collect(metrics, row, label .. "," .. part_label[i], part[row[1]])
      end
    end
  end
  for _, metric in ipairs(metrics) do
    out[#out + 1] = ("# HELP %s %s"):format(metric.name, metric.help)
    out[#out + 1] = ("# TYPE %s %s"):format(metric.name,
      metric.name:find("_total$") and "counter" or "gauge")
    table.move(metric, 1, #metric, #out + 1, out)
  end
  return table.concat(out, "\n") .. (#out > 0 and "\n" or "")
end

return M
