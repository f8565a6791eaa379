-- An expression needs no call of Lua for a candidate.
return { score = "used / (1 + priority)" }
