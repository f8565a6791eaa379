-- Writes to standard output in every way there is.
it("is noisy", function()
  print("<print>")
  io.write("<write>\n")
  io.stdout:write("<stdout>\n")
  assert(os.execute("echo '<child>'"))
end)
