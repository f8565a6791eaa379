-- Makes the small recording that the replay example falls back on: a real sqlite3 answers a
-- session of queries over the list of files of this Debian system's packages, strace writes down
-- its page reads, and each read becomes one record of the block-I/O format: little-endian
-- u32 time in seconds, u64 first sector, u32 bytes, i64 number of the record in which the same
-- block is read next (-1: never).
--
-- Use: lua5.4 spec/data/record.lua OUT.bin
-- It needs sqlite3, strace and dpkg, and takes three minutes, because the session is paced.

local PAGE <const>, SECTOR <const> = 4096, 512
local PAUSE <const> = 0.25 -- seconds between two questions
local EVERY <const> = 3 -- the database takes every third path, to keep the recording small

local function quote(text)
  return "'" .. text:gsub("'", "''") .. "'"
end

local function installed_files()
  local files, packages = {}, {}
  for list in io.popen("ls /var/lib/dpkg/info/*.list"):lines() do
    local package = list:match("([^/]+)%.list$")
    local n = 0
    packages[#packages + 1] = package
    for path in io.lines(list) do
      n = n + 1
      if path:find("^/usr/") and n % EVERY == 0 then
        files[#files + 1] = { path = path, package = package }
      end
    end
  end
  table.sort(files, function(a, b)
    return a.path < b.path
  end)
  return files, packages
end

local function build(db, files)
  local sql <close> = assert(io.popen("sqlite3 " .. db, "w"))
  sql:write("CREATE TABLE files(path TEXT, package TEXT);\nBEGIN;\n")
  for _, file in ipairs(files) do
    local row = ("%s, %s"):format(quote(file.path), quote(file.package))
    sql:write("INSERT INTO files VALUES(", row, ");\n")
  end
  sql:write("COMMIT;\nCREATE INDEX by_path ON files(path);\n")
  sql:write("CREATE INDEX by_package ON files(package);\n")
end

-- Six rounds of look-ups, some things asked for more often than others; every second round ends
-- with a scan of the table, every third with a count by package. sqlite's own cache is kept to
-- 16 pages, so that its reads show.
local function session(files, packages, ask)
  math.randomseed(1)
  local function pick(list)
    return list[1 + math.floor(#list * math.random() ^ 3)]
  end
  ask("PRAGMA cache_size=16;")
  for round = 1, 6 do
    for i = 1, 110 do
      ask("SELECT package FROM files WHERE path=" .. quote(pick(files).path) .. ";")
      if i % 10 == 0 then
        local which = quote(pick(packages))
        ask("SELECT count(*), max(length(path)) FROM files WHERE package=" .. which .. ";")
      end
    end
    if round % 2 == 0 then
      ask("SELECT count(*) FROM files WHERE path LIKE '%/doc/%copyright';")
    end
    if round % 3 == 0 then
      ask("SELECT package, count(*) FROM files GROUP BY package ORDER BY 2 DESC LIMIT 5;")
    end
  end
end

local function perform(db, log, files, packages)
  local command = "strace -ttt -s 0 -e trace=openat,pread64,close -o %s sqlite3 %s >/dev/null"
  local sqlite <close> = assert(io.popen(command:format(log, db), "w"))
  session(files, packages, function(sql)
    sqlite:write(sql, "\n")
    sqlite:flush()
    os.execute("sleep " .. PAUSE)
  end)
end

-- The page reads of the database in the log, as { seconds since the first, first sector, bytes }.
local function page_reads(db, log)
  local reads, descriptor, start = {}, nil, nil
  for line in io.lines(log) do
    local time, call = line:match("^(%d+)%.%d+ (.*)$")
    local path, opened = (call or ""):match('^openat%(.-"(.-)".* = (%d+)$')
    local fd, offset, got = (call or ""):match("^pread64%((%d+),.*, (%d+)%) = (%d+)$")
    if path and path:sub(-#db) == db then
      descriptor = opened
    elseif fd and fd == descriptor and got ~= "0" then
      local page = tonumber(offset) // PAGE
      local pages = (tonumber(offset) + tonumber(got) - 1) // PAGE - page + 1
      start = start or tonumber(time)
      reads[#reads + 1] = { tonumber(time) - start, page * PAGE // SECTOR, pages * PAGE }
    end
  end
  return reads
end

local function save(reads, path)
  local following, seen = {}, {}
  for i = #reads, 1, -1 do
    local sector = reads[i][2]
    following[i] = seen[sector] or -1
    seen[sector] = i
  end
  local out <close> = assert(io.open(path, "wb"))
  for i, read in ipairs(reads) do
    out:write(string.pack("<I4I8I4i8", read[1], read[2], read[3], following[i]))
  end
end

local out = assert(arg[1], "usage: lua5.4 spec/data/record.lua OUT.bin")
local db = os.tmpname()
local log = os.tmpname()
local files, packages = installed_files()
build(db, files)
perform(db, log, files, packages)
local reads = page_reads(db, log)
save(reads, out)
os.remove(db)
os.remove(log)
print(("%d files in the database, %d page reads in %s"):format(#files, #reads, out))
