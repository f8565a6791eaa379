-- Run after leaving.lua.
it("finds nothing of it but what was exposed", function()
  assert.is_nil(package.loaded["lethe.spec.left"])
  assert.is_nil(rawget(_G, "left_behind"))
  assert.is_true(package.loaded["lethe.spec.exposed"])
end)
