-- What the job's row repeats of its spec, which was replaced.
update job set
  revision = revision + 1, priority = ?2, type = ?3, bytes = ?4, terms = ?5, told = ?6
where job = ?1
