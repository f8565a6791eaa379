-- Leaves a module and a global behind; see left.lua.
expose("exposed", function()
  package.loaded["lethe.spec.exposed"] = true
end)
it("leaves things behind", function()
  package.loaded["lethe.spec.left"] = true
  rawset(_G, "left_behind", true)
end)
