it("is never run", function() end)
error("raised while the file was read")
